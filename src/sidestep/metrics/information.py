"""What one class tells of another: codes of neighbouring levels, or of two catalogs.

Apart from `distribution` because scikit-learn, which knows what chance tells, takes long to import.
"""

import numpy as np
from jaxtyping import Int
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from sidestep.metrics.distribution import entropy_bits


def mutual_information_bits(
    first: Int[np.ndarray, " pairs"], second: Int[np.ndarray, " pairs"]
) -> tuple[float, float]:
    """What the class of one member of a pair tells of the other's, and what chance would tell.

        I = H(first) + H(second) - H(first, second)

    Few pairs over many classes always seem to tell something. The second number is therefore the
    mean of I over all pairings of the same members, to be subtracted. Source: Vinh, Epps and
    Bailey 2010.

    Returns:
        The information and its expectation by chance; both 0 without pairs.
    """
    if len(first) == 0:
        return 0.0, 0.0
    table = contingency_matrix(first, second, sparse=True, dtype=np.int64)
    rows, columns = (np.asarray(table.sum(axis=axis)).ravel() for axis in (1, 0))
    information = entropy_bits(rows) + entropy_bits(columns) - entropy_bits(table.data)
    chance = float(expected_mutual_information(table, len(first)) / np.log(2))
    return max(0.0, information), max(0.0, chance)
