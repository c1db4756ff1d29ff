"""Rows of new items and codes in weights: a module gets rows for what it was not trained on."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.bundle.choices import NewRows
from sidestep.catalog.catalog import Catalog

_ROWS_PER_ITEM = ("item_embedding.weight", "item_head.weight", "item_vectors")
_ROWS_PER_CODE = ("code_embedding.weight", "head.weight", "head_more")


def with_items(
    weights: dict[str, Tensor], old: Catalog, new: Catalog, new_rows: NewRows
) -> dict[str, Tensor]:
    """The weights with rows for the new items, wherever there is one per item.

    Args:
        weights: of a module of the old catalog.
        old, new: the catalog before and after, on the CPU.
        new_rows: what the rows of new items are.
    """
    grown = dict(weights)
    for name in _ROWS_PER_ITEM:
        if name in weights:
            rows = _sibling_means(weights[name], new.semantic_ids.numpy(), old.num_items)
            if new_rows == "zeros":
                rows = torch.zeros_like(rows)
            grown[name] = torch.cat([weights[name], rows])
    return grown


def with_codes(weights: dict[str, Tensor], old: Catalog, new: Catalog) -> dict[str, Tensor]:
    """The weights with rows for new codes of the last level, in each table with a row per code.

    A new code has the row of the highest old code of the last level. A table without rows for the
    last level stays as it is.

    Args:
        weights: of a module of the old catalog that names its rows as our networks do.
        old, new: the catalog before and after; only the last codebook may have grown.
    """
    num_old = sum(old.codebook_sizes)
    num_new = sum(new.codebook_sizes) - num_old
    grown = dict(weights)
    for name in _ROWS_PER_CODE:
        if name in weights and len(weights[name]) == num_old:
            # Flat code ids count through the levels: those of the last level are the last rows.
            highest = weights[name][-1:].expand(num_new, *weights[name].shape[1:])
            grown[name] = torch.cat([weights[name], highest])
    return grown


def _sibling_means(
    rows: Float[Tensor, "old dim"], semantic_ids: Int[np.ndarray, "items levels"], num_old: int
) -> Float[Tensor, "new dim"]:
    """For each new item the mean row of the old items that share its longest prefix.

    An item without a relative, not even in the first code, gets the mean of all.
    """
    old = semantic_ids[:num_old]
    means = []
    for codes in semantic_ids[num_old:]:
        shared = np.logical_and.accumulate(old == codes, axis=1).sum(axis=1)
        means.append(rows[torch.from_numpy(shared == shared.max())].mean(dim=0))
    return torch.stack(means)
