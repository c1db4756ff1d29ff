"""How evenly something is spread over classes: codes over items, interactions over prefixes.

Counts are what is spread; all logarithms are to base 2, so entropies are in bits.
"""

import numpy as np
from jaxtyping import Int
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information


def entropy_bits(counts: Int[np.ndarray, " classes"]) -> float:
    """-Σ p log2 p of the shares p; classes of no count add nothing, no counts at all give 0."""
    probs = counts[counts > 0] / max(counts.sum(), 1)
    return max(0.0, float(-(probs * np.log2(probs)).sum()))  # not -0.0


def perplexity(counts: Int[np.ndarray, " classes"]) -> float:
    """2 to the entropy: so many classes in equal use would be as hard to guess; at least 1."""
    return float(2.0 ** entropy_bits(counts))


def gini(counts: Int[np.ndarray, " classes"]) -> float:
    """How unequal counts are: 0 if all are the same, (n - 1) / n if one of n classes has all.

        G = Σ_i (2i - n - 1) x_i / (n Σ_i x_i),  x ascending, i from 1

    Source: Gini 1912, as half the relative mean absolute difference. No counts at all are equal.
    """
    num_classes, total = len(counts), int(counts.sum())
    if total == 0:
        return 0.0
    ascending = np.sort(counts)
    places = 2 * np.arange(1, num_classes + 1) - num_classes - 1
    return float((places * ascending).sum() / (num_classes * total))


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
