"""Mutual information of classes: of codes of neighbouring levels, or of codes of two catalogs.

This module is apart from `distribution` because it needs scikit-learn for the expectation by
chance, and scikit-learn takes long to import.
"""

import numpy as np
from jaxtyping import Int
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from sidestep.metrics.distribution import entropy_bits


def mutual_information_bits(
    first: Int[np.ndarray, " pairs"], second: Int[np.ndarray, " pairs"]
) -> tuple[float, float]:
    """Mutual information of the classes of the two members of a pair, and its mean by chance.

        I = H(first) + H(second) - H(first, second)

    With few pairs over many classes, I is above 0 even by chance. The second number is the mean of
    I over all pairings of the same members; subtract it from I. Source: Vinh, Epps and Bailey 2010.

    Returns:
        The mutual information and its expectation by chance; both 0 without pairs.
    """
    if len(first) == 0:
        return 0.0, 0.0
    table = contingency_matrix(first, second, sparse=True, dtype=np.int64)
    rows, columns = (np.asarray(table.sum(axis=axis)).ravel() for axis in (1, 0))
    information = entropy_bits(rows) + entropy_bits(columns) - entropy_bits(table.data)
    chance = float(expected_mutual_information(table, len(first)) / np.log(2))
    return max(0.0, information), max(0.0, chance)
