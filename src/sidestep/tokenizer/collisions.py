"""Collisions: several items have one semantic ID. A policy tells them apart by the last code."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from sidestep.tokenizer.choices import CollisionPolicy
from sidestep.tokenizer.tokenizer import Fit, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Semantic IDs after a collision policy.

    semantic_ids: one row per item.
    codebook_sizes: codes per level. With `extra` there is one level more than in the tokenizer.
    num_moved: number of items whose last code differs from the tokenizer's, or is a number above 0.
    """

    semantic_ids: Int[np.ndarray, "items levels"]
    codebook_sizes: tuple[int, ...]
    num_moved: int


def resolve_collisions(
    fit: Fit,
    vectors: Float[np.ndarray, "items dim"],
    *,
    policy: CollisionPolicy,
    report: Report | None = None,
) -> Resolved:
    """Applies `policy` to the semantic IDs of the fitted items.

    Args:
        fit: result of the tokenizer.
        vectors: vectors that the tokenizer was fitted on.
        policy: policy for items that share a semantic ID.
        report: called with the progress.

    Raises:
        ValueError: `reassign` finds no room, see `reassign_last_codes`.
    """
    semantic_ids, sizes = fit.semantic_ids, fit.tokenizer.codebook_sizes
    if policy == "extra":
        numbered = with_numbers(semantic_ids)
        sizes = (*sizes, int(numbered[:, -1].max(initial=0)) + 1)
        num_moved = int((numbered[:, -1] > 0).sum())
        return Resolved(semantic_ids=numbered, codebook_sizes=sizes, num_moved=num_moved)
    if policy == "reassign":
        semantic_ids = reassign_last_codes(
            semantic_ids,
            fit.tokenizer.last_residuals(vectors, semantic_ids),
            fit.tokenizer.last_codewords,
            report=report,
        )
    num_moved = int((semantic_ids != fit.semantic_ids).any(axis=1).sum())
    return Resolved(semantic_ids=semantic_ids, codebook_sizes=sizes, num_moved=num_moved)


def has_room(fit: Fit) -> bool:
    """Tells whether `reassign` has enough last codes to tell all fitted items apart."""
    order, starts = _groups(fit.semantic_ids[:, :-1])
    sizes = np.diff(np.append(starts, len(order)))
    return int(sizes.max(initial=0)) <= fit.tokenizer.codebook_sizes[-1]


def with_numbers(
    semantic_ids: Int[np.ndarray, "items levels"],
) -> Int[np.ndarray, "items levels_plus_one"]:
    """Appends a code that numbers the items of each bucket from 0, in the order of their rows.

    Source: TIGER (arXiv:2305.05065), section 3.1.
    """
    order, starts = _groups(semantic_ids)
    sizes = np.diff(np.append(starts, len(order)))
    numbers = np.empty(len(semantic_ids), dtype=semantic_ids.dtype)
    numbers[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return np.concatenate([semantic_ids, numbers[:, None]], axis=1)


def reassign_last_codes(
    semantic_ids: Int[np.ndarray, "items levels"],
    last_residuals: Float[np.ndarray, "items dim"],
    last_codewords: Float[np.ndarray, "codes dim"],
    *,
    report: Report | None = None,
) -> Int[np.ndarray, "items levels"]:
    """Gives items that share a semantic ID different last codes, at the least squared distance.

    The items under one prefix of L-1 codes are a group. A group in which two items collide gets
    distinct last codes that minimise the sum of |residual - codeword|² over its items (a linear
    assignment, solved exactly); the other groups stay as they are.

    Args:
        semantic_ids: semantic IDs from the tokenizer, with or without collisions.
        last_residuals: residual of each item's vector after the first L-1 codes.
        last_codewords: the codebook of the last level.
        report: called with the progress.

    Returns:
        New semantic IDs, all different. The first L-1 codes are unchanged.

    Raises:
        ValueError: a group has more items than the last level has codes.
    """
    order, starts = _groups(semantic_ids[:, :-1])
    ends = np.append(starts[1:], len(order))
    _check_room(semantic_ids[order[starts], :-1], ends - starts, len(last_codewords))
    resolved = semantic_ids.copy()
    # float64: rounding errors of |v - c|² = |v|² - 2 v·c + |c|² must not decide between two codes.
    codewords = last_codewords.astype(np.float64)
    half_squares = 0.5 * np.square(codewords).sum(axis=1)
    colliding = list(_colliding_groups(semantic_ids[:, -1], order, starts, ends))
    for done, group in enumerate(colliding):
        if report is not None:
            report("groups that collide", done, len(colliding))
        # Half the squared distances, minus |v|²/2, which is the same for all codes of an item.
        costs = half_squares - last_residuals[group].astype(np.float64) @ codewords.T
        # The items of a group are its rows in ascending order, so codes[i] belongs to row i.
        _, codes = linear_sum_assignment(costs)
        resolved[group, -1] = codes
    return resolved


def num_distinct(semantic_ids: Int[np.ndarray, "items levels"]) -> int:
    """Number of different semantic IDs. Without collisions, it equals the number of items."""
    return len(_groups(semantic_ids)[1])


def _groups(
    prefixes: Int[np.ndarray, "items codes"],
) -> tuple[Int[np.ndarray, " items"], Int[np.ndarray, " groups"]]:
    """Items sorted by prefix, ties by index, and the start of each group in that order."""
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
        'semantic IDs (collisions "none" or "extra"). Items with equal vectors, such as items '
        "of which nothing is known, share all codes but the last."
    )
