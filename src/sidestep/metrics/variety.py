"""Variety within lists: distinct labels of a list, their entropy, distances between its items.

A label is the number of a category, a brand or a first code. Coverage and concentration, which are
of all lists together, are in `ranking` and `popularity`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def distinct_labels(labels: Int[Tensor, "users k"]) -> Int[Tensor, " users"]:
    """Number of different labels of each list. Negative labels do not count."""
    ordered = labels.sort(dim=1).values
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return (is_first & (ordered >= 0)).sum(dim=1)


def label_entropy_bits(labels: Int[Tensor, "users k"]) -> Float[Tensor, " users"]:
    """Entropy of the labels of each list, in bits: 0 if all are equal, log2 k if all differ.

    Negative labels do not count. The entropy of a list without labels is 0.
    """
    is_label = labels >= 0
    num_labels = is_label.sum(dim=1, keepdim=True).clamp(min=1)
    is_same = (labels[:, :, None] == labels[:, None, :]) & is_label[:, None, :]  # [users, k, k]
    # Every entry of a class adds -log2 p / n, so that a class of p n entries adds -p log2 p.
    shares = (is_same.sum(dim=2) / num_labels).double()
    bits = -shares.masked_fill(~is_label, 1.0).log2().sum(dim=1) / num_labels[:, 0]
    return bits.clamp(min=0.0)  # not -0.0


def intra_list_distance(
    items: Int[Tensor, "users k"], vectors: Float[Tensor, "items dim"]
) -> Float[Tensor, " users"]:
    """Mean cosine distance between two items of each list, from 0 to 2.

        ILD = mean over pairs i < j of 1 - cos(v_i, v_j)

    Source: Ziegler et al. 2005 (Improving Recommendation Lists Through Topic Diversification, WWW),
    as a distance instead of a similarity. A zero vector has the cosine 0 with every vector.

    Args:
        items: item indices; negative numbers are padding.
        vectors: one per item, of any length.

    Returns:
        The distances; NaN for a list of fewer than two items.
    """
    is_item = items >= 0
    found = functional.normalize(vectors.double(), dim=1)[items.clamp(min=0)]
    found = found * is_item[..., None]
    sums = found.sum(dim=1)
    # The sum over ordered pairs is |Σ v|² less the diagonal.
    shared = (sums**2).sum(dim=1) - (found**2).sum(dim=(1, 2))
    number = is_item.sum(dim=1).double()
    return 1.0 - shared / (number * (number - 1))
