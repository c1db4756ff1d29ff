"""How evenly something is spread over classes: codes over items, interactions over prefixes.

Counts are what is spread; all logarithms are to base 2, so entropies are in bits.
"""

import numpy as np
from jaxtyping import Int


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
