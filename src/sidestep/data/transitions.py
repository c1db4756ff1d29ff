"""Transitions: how often one item follows another in the sequences of users."""

import scipy.sparse

from sidestep.data.histories import Histories
from sidestep.item_pairs import pair_sums


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
    return pair_sums(
        histories.items,
        histories.offsets,
        num_items,
        factors=[distance_decay ** (distance - 1) for distance in range(1, max_distance + 1)],
        first_weights=histories.input_weights,
        second_weights=histories.target_weights,
    )
