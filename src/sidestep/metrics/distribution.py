"""Evenness of distributions over classes: items over codes, interactions over prefixes.

Counts give the distribution. All logarithms are to base 2, so entropies are in bits.
"""

import numpy as np
from jaxtyping import Int


def entropy_bits(counts: Int[np.ndarray, " classes"]) -> float:
    """Entropy -Σ p log2 p of the shares p, in bits.

    Classes with count 0 add nothing. If all counts are 0, the entropy is 0.
    """
    probs = counts[counts > 0] / max(counts.sum(), 1)
    return max(0.0, float(-(probs * np.log2(probs)).sum()))  # not -0.0


def perplexity(counts: Int[np.ndarray, " classes"]) -> float:
    """2 to the power of the entropy: so many equally frequent classes are as hard to guess.

    The perplexity is at least 1.
    """
    return float(2.0 ** entropy_bits(counts))


def gini(counts: Int[np.ndarray, " classes"]) -> float:
    """Gini coefficient of counts: 0 if all counts are equal, (n - 1) / n if one class has all.

        G = Σ_i (2i - n - 1) x_i / (n Σ_i x_i),  x ascending, i from 1

    n is the number of classes. Source: Gini 1912, as half the relative mean absolute difference. If
    all counts are 0, they are equal.
    """
    num_classes, total = len(counts), int(counts.sum())
    if total == 0:
        return 0.0
    ascending = np.sort(counts)
    places = 2 * np.arange(1, num_classes + 1) - num_classes - 1
    return float((places * ascending).sum() / (num_classes * total))
