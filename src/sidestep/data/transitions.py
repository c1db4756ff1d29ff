"""Transitions: how often one item follows another in the sequences of users."""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from sidestep.data.histories import Histories


def transition_counts(
    histories: Histories, num_items: int, *, max_distance: int, distance_decay: float
) -> scipy.sparse.csr_array:
    """Counts the pairs of items of which one follows the other in a sequence.

        c[i, j] = Σ γ^(d-1) · u_p · w_(p+d), over all positions p of i and p + d of j, 1 ≤ d ≤ D

    Pairs at distance 1 are direct transitions; the others skip the items between them. Only an item
    that is read leads to another (weight as an input u), and only an item that may be predicted is
    led to (weight as a target w).

    Args:
        histories: the sequences; the caller gives the training part alone.
        num_items: rows and columns of the result.
        max_distance: D, the largest distance between two items of a pair.
        distance_decay: γ, the factor of a pair for each item that it skips.

    Returns:
        The sums, sparse, in float64: row i, column j holds c[i, j].
    """
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    total = scipy.sparse.csr_array((num_items, num_items), dtype=np.float64)
    for distance in range(1, max_distance + 1):
        is_pair = users[:-distance] == users[distance:]
        first = histories.items[:-distance][is_pair]
        second = histories.items[distance:][is_pair]
        weights = np.full(len(first), distance_decay ** (distance - 1))
        if histories.input_weights is not None:
            weights *= histories.input_weights[:-distance][is_pair]
        if histories.target_weights is not None:
            weights *= histories.target_weights[distance:][is_pair]
        total = total + _sums(first, second, weights, num_items)
    return total


def _sums(
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    weights: Float[np.ndarray, " pairs"],
    num_items: int,
) -> scipy.sparse.csr_array:
    """The sum of the weights of equal pairs; pairs of weight 0 are left out."""
    is_counted = weights > 0
    places = (first[is_counted], second[is_counted])
    sums = scipy.sparse.csr_array((weights[is_counted], places), shape=(num_items, num_items))
    sums.sum_duplicates()
    return sums
