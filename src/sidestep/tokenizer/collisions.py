"""Collisions: several items with one semantic ID, and how the last code can tell them apart."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

CollisionPolicy = Literal["reassign", "none"]
"""`reassign` gives every item a semantic ID of its own; `none` keeps buckets."""


def resolve_collisions(
    semantic_ids: Int[np.ndarray, "items levels"],
    last_residuals: Float[np.ndarray, "items dim"],
    last_codewords: Float[np.ndarray, "codes dim"],
    *,
    policy: CollisionPolicy,
) -> Int[np.ndarray, "items levels"]:
    """The semantic IDs after `policy`; the arguments are those of `reassign_last_codes`."""
    if policy == "none":
        return semantic_ids
    return reassign_last_codes(semantic_ids, last_residuals, last_codewords)


def reassign_last_codes(
    semantic_ids: Int[np.ndarray, "items levels"],
    last_residuals: Float[np.ndarray, "items dim"],
    last_codewords: Float[np.ndarray, "codes dim"],
) -> Int[np.ndarray, "items levels"]:
    """Gives items that share a semantic ID different last codes, at the least squared distance.

    The items under one prefix of L-1 codes are a group. A group in which two items collide gets
    distinct last codes that minimise the sum of |residual - codeword|² over its items (a linear
    assignment, solved exactly); the other groups stay as they are.

    Args:
        semantic_ids: from the tokenizer, with or without collisions.
        last_residuals: what the first L-1 codes leave of each item's vector.
        last_codewords: the codebook of the last level.

    Returns:
        New semantic IDs, all different; the first L-1 codes are the old ones.

    Raises:
        ValueError: a group has more items than the last level has codes.
    """
    order, starts = _groups(semantic_ids[:, :-1])
    ends = np.append(starts[1:], len(order))
    _check_room(semantic_ids[order[starts], :-1], ends - starts, len(last_codewords))
    resolved = semantic_ids.copy()
    for group in _colliding_groups(semantic_ids[:, -1], order, starts, ends):
        differences = last_residuals[group, None, :] - last_codewords[None, :, :]
        costs = np.square(differences, dtype=np.float64).sum(axis=2)  # [group, codes]
        # The items of a group are its rows in ascending order, so codes[i] belongs to row i.
        _, codes = linear_sum_assignment(costs)
        resolved[group, -1] = codes
    return resolved


def num_distinct(semantic_ids: Int[np.ndarray, "items levels"]) -> int:
    """How many different semantic IDs there are; equal to the number of items without collision."""
    return len(_groups(semantic_ids)[1])


def _groups(
    prefixes: Int[np.ndarray, "items codes"],
) -> tuple[Int[np.ndarray, " items"], Int[np.ndarray, " groups"]]:
    """Items sorted by prefix, ties by index, and where each group starts in that order."""
    if prefixes.shape[1] == 0:
        return np.arange(len(prefixes)), np.zeros(min(1, len(prefixes)), dtype=np.int64)
    order = np.lexsort(prefixes.T[::-1])
    ordered = prefixes[order]
    is_start = np.ones(len(order), dtype=bool)
    is_start[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return order, np.flatnonzero(is_start)


def _colliding_groups(
    last_codes: Int[np.ndarray, " items"],
    order: Int[np.ndarray, " items"],
    starts: Int[np.ndarray, " groups"],
    ends: Int[np.ndarray, " groups"],
) -> list[Int[np.ndarray, " group"]]:
    """The items of every group in which two items share the last code too."""
    group_of = np.repeat(np.arange(len(starts)), ends - starts)
    by_code = np.lexsort((last_codes[order], group_of))
    codes, groups = last_codes[order][by_code], group_of[by_code]
    is_repeat = (codes[1:] == codes[:-1]) & (groups[1:] == groups[:-1])
    return [order[starts[group] : ends[group]] for group in np.unique(groups[1:][is_repeat])]


def _check_room(
    prefixes: Int[np.ndarray, "groups codes"], sizes: Int[np.ndarray, " groups"], num_codes: int
) -> None:
    if len(sizes) == 0 or sizes.max() <= num_codes:
        return
    largest = int(sizes.argmax())
    raise ValueError(
        f"{int((sizes > num_codes).sum())} prefix groups have more items than the last codebook "
        f"has codes; the largest, {tuple(int(code) for code in prefixes[largest])}, has "
        f"{int(sizes[largest])} items for {num_codes} codes. Raise the last codebook size to "
        f"{int(sizes[largest])}, add a level, enlarge the codebooks before it, or let items share "
        'semantic IDs (collisions "none"). Items with equal vectors, such as items of which '
        "nothing is known, share all codes but the last."
    )
