"""Batches of histories, written as rows, and scores of codes by their rows."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch


def history_of(items: Int[Tensor, "users items"]) -> HistoryBatch:
    """Makes a batch from padded rows of item indices."""
    return HistoryBatch(items=items, lengths=(items != NO_ITEM).sum(dim=1))


def scores_by_rows(model, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch codes"]:
    """Scores of all flat codes: of each code, the log of the sum over its rows."""
    rows = model.head_weight[:, None]
    if model.more_rows is not None:
        rows = torch.cat([rows, model.more_rows], dim=1)
    products = torch.einsum("...d,crd->...cr", states, rows.to(states.dtype))
    return products.exp().sum(dim=-1).log()
