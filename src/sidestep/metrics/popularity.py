"""Popularity: how much of what is recommended, and of what is found, falls on the few best sellers.

Popularity is counted in interactions of the training part.
"""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

GROUPS = ("head", "middle", "tail")
"""A group is the index of its name."""


def popularity_groups(popularity: Int[np.ndarray, " items"]) -> Int[np.ndarray, " items"]:
    """Divides items into head, middle and tail, with about a third of the interactions each.

    An item belongs to the third of all interactions into which the first interaction falls, counted
    from the most popular item on. Equally popular items are in one group, as if each came first;
    items without interactions are in the tail. So head items are few and tail items many.

    Args:
        popularity: interactions per item in training.

    Raises:
        ValueError: a count is negative.
    """
    if len(popularity) and popularity.min() < 0:
        raise ValueError(f"popularity counts interactions, got {popularity.min()}.")
    counts, inverse, num_items = np.unique(popularity, return_inverse=True, return_counts=True)
    # Integers, so that the borders are where they are on every machine.
    interactions = (counts * num_items)[::-1]
    before = (np.cumsum(interactions) - interactions)[::-1]
    total = max(int(interactions.sum()), 1)
    groups = np.minimum(3 * before // total, len(GROUPS) - 1)
    groups[counts == 0] = len(GROUPS) - 1
    return np.asarray(groups[inverse.reshape(-1)], dtype=np.int64)


def concentration(items: Int[Tensor, "users k"], num_items: int) -> float:
    """The Gini index of how often each item of the catalog stands in a list.

        Σ_i (2 i - n - 1) c_i / (n Σ_i c_i)    with counts c ascending, i from 1 to n

    0 if all items are listed equally often, 1 - 1/n if all lists hold the same single item; 0 if
    nothing is listed.

    Args:
        items: item indices; `NO_ITEM`, and whatever is no item of the catalog, counts nothing.
        num_items: the size of the catalog.
    """
    is_item = (items >= 0) & (items < num_items)
    counts = torch.bincount(items[is_item], minlength=num_items).double().sort().values
    if counts.sum() == 0:
        return 0.0
    weights = torch.arange(1, num_items + 1, dtype=torch.float64) * 2 - num_items - 1
    return float((weights * counts).sum() / (num_items * counts.sum()))
