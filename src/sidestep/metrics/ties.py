"""Metrics of a target whose score other items may share: expectations over the order of ties.

Items of equal scores are tied: their order in a list has no meaning. Items of one bucket, which
share a semantic ID, are always tied. So a metric is the expectation over all orders of the items
that are tied with the target: G items, the target included, after P better items. The end of the
list may cut off some of the G items. With G = 1, these are the usual metrics. Ranks count from 0.
Metrics of a whole list are in `ranking`. Means over users are plain `.mean()`.
"""

import numpy as np
from jaxtyping import Float, Int

NOT_LISTED = -1
"""Rank of a target that is neither in the list nor tied with the end of a full list."""


def hit_rate(
    rank_before: Int[np.ndarray, " users"], num_tied: Int[np.ndarray, " users"], k: int
) -> Float[np.ndarray, " users"]:
    """Probability that the target is among the first `k` items.

        HR@K = min(G, max(0, K - P)) / G

    Args:
        rank_before: P, the number of items that are better than the target, or `NOT_LISTED`.
        num_tied: G, the number of items that are tied with the target, the target included.
        k: K, the number of items of the list that count.
    """
    _check(rank_before, num_tied, k)
    inside = np.minimum(num_tied, np.maximum(k - rank_before, 0))
    return _if_listed(inside / num_tied, rank_before)


def ndcg(
    rank_before: Int[np.ndarray, " users"], num_tied: Int[np.ndarray, " users"], k: int
) -> Float[np.ndarray, " users"]:
    """Expected normalised discounted cumulative gain of one target; the ideal gain is 1.

        NDCG@K = (1/G) Σ_{q < min(G, K-P)} 1 / log2(P + q + 2)

    Source: Järvelin & Kekäläinen 2002, for one relevant item, with the discount log2(rank + 1),
    ranks from 1, which is usual in recommendation. The arguments are those of `hit_rate`.
    """
    _check(rank_before, num_tied, k)
    gains = 1.0 / np.log2(np.arange(2, k + 2))
    return _mean_gain(gains, rank_before, num_tied)


def reciprocal_rank(
    rank_before: Int[np.ndarray, " users"], num_tied: Int[np.ndarray, " users"], k: int
) -> Float[np.ndarray, " users"]:
    """Expected 1 / rank of the target, ranks from 1; its mean over users is MRR.

        RR@K = (1/G) Σ_{q < min(G, K-P)} 1 / (P + q + 1)

    A target after the first `k` items counts 0. The arguments are those of `hit_rate`.
    """
    _check(rank_before, num_tied, k)
    gains = 1.0 / np.arange(1, k + 1)
    return _mean_gain(gains, rank_before, num_tied)


def _mean_gain(
    gains: Float[np.ndarray, " k"],
    rank_before: Int[np.ndarray, " users"],
    num_tied: Int[np.ndarray, " users"],
) -> Float[np.ndarray, " users"]:
    """Mean of `gains` over the ranks of the tied items; a rank past the end has gain 0."""
    k = len(gains)
    # sums[n] is the gain of the first n ranks together.
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    start = rank_before.clip(0, k)
    stop = (rank_before + num_tied).clip(0, k)
    return _if_listed((sums[stop] - sums[start]) / num_tied, rank_before)


def _if_listed(
    values: Float[np.ndarray, " users"], rank_before: Int[np.ndarray, " users"]
) -> Float[np.ndarray, " users"]:
    return np.where(rank_before == NOT_LISTED, 0.0, values)


def _check(
    rank_before: Int[np.ndarray, " users"], num_tied: Int[np.ndarray, " users"], k: int
) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    if (num_tied < 1).any():
        raise ValueError("num_tied must be at least 1: it counts the target itself.")
    if (rank_before < NOT_LISTED).any():
        raise ValueError(f"rank_before must be {NOT_LISTED} (not listed) or count from 0.")
