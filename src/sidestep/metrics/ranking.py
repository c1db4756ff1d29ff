"""Metrics of whole ranked lists: their prefixes, diversity, coverage and invalid entries.

Metrics of the target of a list are in `ties`.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.padding import NO_ITEM


def prefix_hits(
    prefixes: Int[Tensor, "users prefixes levels"], targets: Int[Tensor, "users levels"]
) -> Bool[Tensor, "users levels"]:
    """Tells for every b from 1 whether a prefix starts with the first b codes of the target.

    The mean over users of column b - 1 is HRecall@b.

    Args:
        prefixes: codes; -1 past the end of a prefix. -1 matches no code of a target.
        targets: semantic ID of each target.
    """
    matches = (prefixes == targets[:, None, :]).cumprod(dim=-1)  # [users, prefixes, levels]
    return matches.bool().any(dim=1)


def diversity(
    semantic_ids: Int[Tensor, "users leaves levels"], is_leaf: Bool[Tensor, "users leaves"]
) -> Float[Tensor, " users"]:
    """Diversity of a candidate set: how early its semantic IDs differ, from 0 (all equal) to 1.

        mean over pairs of 1 - LCP(y_i, y_j) / L

    LCP is the length of the longest common prefix. Source: V-STAR (arXiv:2602.10699), Table 6.

    Args:
        semantic_ids: semantic IDs of the candidate set; arbitrary if `is_leaf` is False.
        is_leaf: False at padding.

    Returns:
        The diversity; NaN if a set has fewer than two leaves, and so no pair.
    """
    return _mean_difference(semantic_ids, is_leaf, in_order=True)


def set_diversity(
    codes: Int[Tensor, "users leaves codebooks"], is_leaf: Bool[Tensor, "users leaves"]
) -> Float[Tensor, " users"]:
    """Diversity of a candidate set whose codes have no order, from 0 (all equal) to 1.

        mean over pairs of 1 - S(y_i, y_j) / L

    S is the number of codes that two leaves share, and L is the number of codebooks. Ours: the
    measure of `diversity` without an order of the codes.

    Args:
        codes: codes of the candidate set, by codebook; arbitrary if `is_leaf` is False.
        is_leaf: False at padding.

    Returns:
        The diversity; NaN if a set has fewer than two leaves, and so no pair.
    """
    return _mean_difference(codes, is_leaf, in_order=False)


def _mean_difference(
    codes: Int[Tensor, "users leaves codebooks"],
    is_leaf: Bool[Tensor, "users leaves"],
    *,
    in_order: bool,
) -> Float[Tensor, " users"]:
    """The mean share of codes in which two leaves differ; `in_order`: from the first one on."""
    is_pair = is_leaf[:, :, None] & is_leaf[:, None, :]  # [users, leaves, leaves]
    num_leaves = is_leaf.sum(dim=1)
    # Ordered pairs without the diagonal, which pairs each leaf with itself.
    num_pairs = (num_leaves * (num_leaves - 1)).double()
    shared, same_so_far = torch.zeros_like(num_pairs), is_pair
    for own in codes.unbind(dim=-1):
        same = same_so_far & (own[:, :, None] == own[:, None, :])
        shared += same.sum(dim=(1, 2)) - num_leaves
        if in_order:
            same_so_far = same
    return 1.0 - shared / (num_pairs * codes.shape[-1])


def coverage(items: Int[Tensor, "users k"], num_items: int) -> float:
    """Share of the catalog that is in at least one user's list.

    Args:
        items: item indices; `NO_ITEM` and indices outside the catalog do not count.
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
    """Mask of the invalid entries of lists.

    An entry is invalid if it is an index outside the catalog, an item that the list has already
    named, or a forbidden item. `NO_ITEM` is no entry and never invalid.

    Args:
        items: item indices, best first; `NO_ITEM` after the end of a shorter list.
        num_items: the size of the catalog.
        is_forbidden: True if the entry must not be listed; None forbids nothing.
    """
    is_entry = items != NO_ITEM
    is_outside = (items < 0) | (items >= num_items)
    equal = items[:, :, None] == items[:, None, :]  # [users, k, k]
    is_repeated = equal.tril(diagonal=-1).any(dim=-1)
    invalid = is_outside | is_repeated
    if is_forbidden is not None:
        invalid |= is_forbidden
    return invalid & is_entry
