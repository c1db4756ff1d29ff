"""What ranked lists are worth as a whole: which prefixes they hold, how unlike their entries are.

What the target of a list is worth stands in `ties`.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.padding import NO_ITEM


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
