"""Popularity: groups of items by popularity, and the concentration of lists on few items.

The popularity of an item is its number of interactions in the training part.
"""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

GROUPS = ("head", "middle", "tail")
"""Names of the groups. A group is the index of its name."""


def popularity_groups(popularity: Int[np.ndarray, " items"]) -> Int[np.ndarray, " items"]:
    """Divides items into head, middle and tail, with about a third of the interactions each.

    Interactions are counted from the most popular item on. An item belongs to the third of all
    interactions that holds the item's first interaction. Equally popular items are in one group, as
    if each came first. Items without interactions are in the tail. So there are few head items and
    many tail items.

    Args:
        popularity: interactions per item in training.

    Raises:
        ValueError: a count is negative.
    """
    if len(popularity) and popularity.min() < 0:
        raise ValueError(f"popularity counts interactions, got {popularity.min()}.")
    counts, inverse, num_items = np.unique(popularity, return_inverse=True, return_counts=True)
    # Integers, so that the borders are the same on every machine.
    interactions = (counts * num_items)[::-1]
    before = (np.cumsum(interactions) - interactions)[::-1]
    total = max(int(interactions.sum()), 1)
    groups = np.minimum(3 * before // total, len(GROUPS) - 1)
    groups[counts == 0] = len(GROUPS) - 1
    return np.asarray(groups[inverse.reshape(-1)], dtype=np.int64)


def concentration(items: Int[Tensor, "users k"], num_items: int) -> float:
    """Gini coefficient of the number of lists that hold each item of the catalog.

        Σ_i (2 i - n - 1) c_i / (n Σ_i c_i)    with counts c ascending, i from 1 to n

    It is 0 if all items are listed equally often, 1 - 1/n if all lists hold the same single item,
    and 0 if no item is listed.

    Args:
        items: item indices; `NO_ITEM` and indices outside the catalog do not count.
        num_items: the size of the catalog.
    """
    is_item = (items >= 0) & (items < num_items)
    counts = torch.bincount(items[is_item], minlength=num_items).double().sort().values
    if counts.sum() == 0:
        return 0.0
    weights = torch.arange(1, num_items + 1, dtype=torch.float64) * 2 - num_items - 1
    return float((weights * counts).sum() / (num_items * counts.sum()))
