"""What a ranked list is worth, per user, when some of its items cannot be told apart.

Items of equal scores are tied: their order in a list says nothing. Items of one bucket, which share
a semantic ID, are always tied. A metric is therefore the expectation over all orders of the items
that are tied with the target: G items, the target included, behind P better ones. A list may have
cut some of the G off. With G = 1 these are the usual metrics. Ranks count from 0; ranking means
within one user are not here: they are plain `.mean()`.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.padding import NO_ITEM

NOT_LISTED = -1
"""Stands for the rank of a target that is not in the list, nor tied with the end of a full one."""


def hit_rate(
    rank_before: Int[Tensor, " users"], num_tied: Int[Tensor, " users"], k: int
) -> Float[Tensor, " users"]:
    """Probability that the target is among the first `k` items.

        HR@K = min(G, max(0, K - P)) / G

    Args:
        rank_before: P, the items that are better than the target, or `NOT_LISTED`.
        num_tied: G, the items that are tied with the target, the target included.
        k: K, how many items of the list count.
    """
    _check(rank_before, num_tied, k)
    inside = torch.minimum(num_tied, (k - rank_before).clamp(min=0))
    return _if_listed(inside / num_tied.double(), rank_before)


def ndcg(
    rank_before: Int[Tensor, " users"], num_tied: Int[Tensor, " users"], k: int
) -> Float[Tensor, " users"]:
    """Expected normalised discounted cumulative gain of one target; the ideal gain is 1.

        NDCG@K = (1/G) Σ_{q < min(G, K-P)} 1 / log2(P + q + 2)

    Source: Järvelin & Kekäläinen 2002, with the discount log2(rank + 1), ranks from 1, that
    recommendation uses, for one relevant item. The arguments are those of `hit_rate`.
    """
    _check(rank_before, num_tied, k)
    gains = 1.0 / torch.arange(2, k + 2, dtype=torch.float64, device=rank_before.device).log2()
    return _mean_gain(gains, rank_before, num_tied)


def reciprocal_rank(
    rank_before: Int[Tensor, " users"], num_tied: Int[Tensor, " users"], k: int
) -> Float[Tensor, " users"]:
    """Expected 1 / rank of the target, ranks from 1; its mean over users is MRR.

        RR@K = (1/G) Σ_{q < min(G, K-P)} 1 / (P + q + 1)

    A target past the first `k` items counts 0. The arguments are those of `hit_rate`.
    """
    _check(rank_before, num_tied, k)
    gains = 1.0 / torch.arange(1, k + 1, dtype=torch.float64, device=rank_before.device)
    return _mean_gain(gains, rank_before, num_tied)


def prefix_hits(
    prefixes: Int[Tensor, "users prefixes levels"], targets: Int[Tensor, "users levels"]
) -> Bool[Tensor, "users levels"]:
    """Whether some prefix starts with the first b codes of the target, for every b from 1.

    The mean over users of column b - 1 is HRecall@b.

    Args:
        prefixes: codes; -1 past the end of a prefix, which matches no target.
        targets: the target's semantic ID.
    """
    matches = (prefixes == targets[:, None, :]).cumprod(dim=-1)  # [users, prefixes, levels]
    return matches.bool().any(dim=1)


def diversity(
    semantic_ids: Int[Tensor, "users leaves levels"], is_leaf: Bool[Tensor, "users leaves"]
) -> Float[Tensor, " users"]:
    """How early the semantic IDs of a candidate set part, from 0 (all equal) to 1.

        mean over pairs of 1 - LCP(y_i, y_j) / L

    LCP is the length of the longest common prefix. Source: V-STAR (arXiv:2602.10699), Table 6.

    Args:
        semantic_ids: the candidate set; anything where `is_leaf` is False.
        is_leaf: False where the set is smaller.

    Returns:
        NaN where a set has fewer than two leaves, and so no pair.
    """
    num_levels = semantic_ids.shape[-1]
    same = is_leaf[:, :, None] & is_leaf[:, None, :]  # [users, leaves, leaves]
    num_leaves = is_leaf.sum(dim=1)
    # Ordered pairs, of which the diagonal, where a leaf meets itself, is taken out.
    num_pairs = (num_leaves * (num_leaves - 1)).double()
    shared = torch.zeros_like(num_pairs)
    for level in range(num_levels):
        codes = semantic_ids[:, :, level]
        same = same & (codes[:, :, None] == codes[:, None, :])
        shared += same.sum(dim=(1, 2)) - num_leaves
    return 1.0 - shared / (num_pairs * num_levels)


def coverage(items: Int[Tensor, "users k"], num_items: int) -> float:
    """Share of the catalog that stands in at least one user's list.

    Args:
        items: item indices; `NO_ITEM`, and whatever is no item of the catalog, counts nothing.
        num_items: the size of the catalog.
    """
    is_item = (items >= 0) & (items < num_items)
    is_covered = torch.zeros(num_items, dtype=torch.bool, device=items.device)
    is_covered[items[is_item]] = True
    return float(is_covered.double().mean())


def invalid_entries(
    items: Int[Tensor, "users k"],
    num_items: int,
    *,
    is_forbidden: Bool[Tensor, "users k"] | None = None,
) -> Bool[Tensor, "users k"]:
    """True where a list names what it must not.

    That is an index outside the catalog, an item the list has already named, and a forbidden
    item. `NO_ITEM` is not an entry and never invalid.

    Args:
        items: item indices, best first; `NO_ITEM` where a list is shorter.
        num_items: the size of the catalog.
        is_forbidden: True where the entry must not be listed; None forbids nothing.
    """
    is_entry = items != NO_ITEM
    is_outside = (items < 0) | (items >= num_items)
    equal = items[:, :, None] == items[:, None, :]  # [users, k, k]
    is_repeated = equal.tril(diagonal=-1).any(dim=-1)
    invalid = is_outside | is_repeated
    if is_forbidden is not None:
        invalid |= is_forbidden
    return invalid & is_entry


def _mean_gain(
    gains: Float[Tensor, " k"],
    rank_before: Int[Tensor, " users"],
    num_tied: Int[Tensor, " users"],
) -> Float[Tensor, " users"]:
    """Mean of `gains` over the ranks that the ties take; ranks past the end gain nothing."""
    k = len(gains)
    # sums[n] is the gain of the first n ranks together.
    sums = torch.cat([gains.new_zeros(1), gains.cumsum(dim=0)])
    start = rank_before.clamp(0, k)
    stop = (rank_before + num_tied).clamp(0, k)
    return _if_listed((sums[stop] - sums[start]) / num_tied, rank_before)


def _if_listed(
    values: Float[Tensor, " users"], rank_before: Int[Tensor, " users"]
) -> Float[Tensor, " users"]:
    return values.masked_fill(rank_before == NOT_LISTED, 0.0)


def _check(rank_before: Int[Tensor, " users"], num_tied: Int[Tensor, " users"], k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    if (num_tied < 1).any():
        raise ValueError("num_tied must be at least 1: it counts the target itself.")
    if (rank_before < NOT_LISTED).any():
        raise ValueError(f"rank_before must be {NOT_LISTED} (not listed) or count from 0.")
