"""Pairs of items: how often two items stand near each other in the sequences of users."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int


def pair_sums(
    items: Int[np.ndarray, " interactions"],
    offsets: Int[np.ndarray, " bounds"],
    num_items: int,
    *,
    factors: Sequence[float],
    first_weights: Float[np.ndarray, " interactions"] | None = None,
    second_weights: Float[np.ndarray, " interactions"] | None = None,
) -> scipy.sparse.csr_array:
    """Sums the weights of the pairs of items that stand near each other in a sequence.

    The weight of a pair is the factor of its distance times the weights of its two items.

    Args:
        items: of the sequences, laid end to end.
        offsets: where the sequences begin, and the end of the last one.
        num_items: rows and columns of the result.
        factors: of the distances 1, 2, ...; pairs that stand further apart do not count.
        first_weights: of the items as the earlier one of a pair; None: all weigh 1.
        second_weights: of the items as the later one; None: all weigh 1.

    Returns:
        The sums, sparse, in float64: the row is the earlier item. No entry is 0.
    """
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    total = scipy.sparse.csr_array((num_items, num_items), dtype=np.float64)
    for distance, factor in enumerate(factors, start=1):
        is_pair = users[:-distance] == users[distance:]
        weights = np.full(int(is_pair.sum()), factor)
        if first_weights is not None:
            weights *= first_weights[:-distance][is_pair]
        if second_weights is not None:
            weights *= second_weights[distance:][is_pair]
        is_counted = weights > 0
        places = (items[:-distance][is_pair][is_counted], items[distance:][is_pair][is_counted])
        total = total + scipy.sparse.csr_array((weights[is_counted], places), shape=total.shape)
    return total
