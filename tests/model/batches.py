"""Batches of histories, written as rows."""

from jaxtyping import Int
from torch import Tensor

from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch


def history_of(items: Int[Tensor, "users items"]) -> HistoryBatch:
    """Makes a batch from padded rows of item indices."""
    return HistoryBatch(items=items, lengths=(items != NO_ITEM).sum(dim=1))
