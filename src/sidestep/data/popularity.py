"""Popularity: number of target events of each item, counted and weighted."""

import numpy as np
from jaxtyping import Int, Real

from sidestep.data.histories import Histories


def target_counts(histories: Histories, num_items: int) -> Int[np.ndarray, " items"]:
    """Number of target events of each item. Without weights, every interaction is one."""
    return np.bincount(histories.items[histories.is_target], minlength=num_items)


def weighted_target_counts(histories: Histories, num_items: int) -> Real[np.ndarray, " items"]:
    """Sum of the target weights of each item; whole numbers if all weigh 1.

    Items with the same number of events of each weight have exactly the same sum. The sum does not
    depend on the order of the events, so ties stay ties.
    """
    weights = histories.target_weights
    if weights is None:
        return target_counts(histories, num_items)
    total = np.zeros(num_items)
    for weight in np.unique(weights):
        total += weight * np.bincount(histories.items[weights == weight], minlength=num_items)
    return total
