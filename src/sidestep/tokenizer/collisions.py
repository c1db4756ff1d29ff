"""Collisions: several items have one semantic ID. A policy tells them apart.

Codes in an order change at the last code alone, so that prefixes keep their meaning. Parallel codes
may change at any codebook, see `set_collisions`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from sidestep.tokenizer.choices import CollisionPolicy
from sidestep.tokenizer.equal_codes import groups_of
from sidestep.tokenizer.set_collisions import ParallelCodebooks, reassign_one_code
from sidestep.tokenizer.tokenizer import Fit, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Semantic IDs after a collision policy.

    semantic_ids: one row per item.
    codebook_sizes: codes per level. With `extra` there is one level more than in the tokenizer.
    num_moved: number of items with a code that differs from the tokenizer's. With `extra`: number
        of items whose extra code is above 0.
    """

    semantic_ids: Int[np.ndarray, "items levels"]
    codebook_sizes: tuple[int, ...]
    num_moved: int


def resolve_collisions(
    fit: Fit,
    vectors: Float[np.ndarray, "items dim"],
    *,
    policy: CollisionPolicy,
    is_unordered: bool = False,
    report: Report | None = None,
) -> Resolved:
    """Applies `policy` to the semantic IDs of the fitted items.

    Args:
        fit: result of the tokenizer.
        vectors: vectors that the tokenizer was fitted on.
        policy: policy for items that share a semantic ID.
        is_unordered: whether the codes are sets, so that any code may change where the tokenizer
            has parallel codebooks.
        report: called with the progress.

    Raises:
        ValueError: `reassign` finds no room, see `reassign_last_codes` and `reassign_one_code`.
    """
    semantic_ids, sizes = fit.semantic_ids, fit.tokenizer.codebook_sizes
    if policy == "extra":
        numbered = with_numbers(semantic_ids)
        sizes = (*sizes, int(numbered[:, -1].max(initial=0)) + 1)
        num_moved = int((numbered[:, -1] > 0).sum())
        return Resolved(semantic_ids=numbered, codebook_sizes=sizes, num_moved=num_moved)
    tokenizer = fit.tokenizer
    if policy == "reassign" and is_unordered and isinstance(tokenizer, ParallelCodebooks):
        semantic_ids = reassign_one_code(
            semantic_ids, tokenizer.quantised(vectors), tokenizer.levels, report=report
        )
    elif policy == "reassign":
        semantic_ids = reassign_last_codes(
            semantic_ids,
            tokenizer.last_residuals(vectors, semantic_ids),
            tokenizer.last_codewords,
            report=report,
        )
    num_moved = int((semantic_ids != fit.semantic_ids).any(axis=1).sum())
    return Resolved(semantic_ids=semantic_ids, codebook_sizes=sizes, num_moved=num_moved)


def has_room(fit: Fit, *, is_unordered: bool = False) -> bool:
    """Tells whether `reassign` has enough codes to tell all fitted items apart.

    Args:
        fit: result of the tokenizer.
        is_unordered: see `resolve_collisions`. For sets, the answer may be True where there is no
            room: other items may have the sets that are one code away.
    """
    sizes = fit.tokenizer.codebook_sizes
    if is_unordered and isinstance(fit.tokenizer, ParallelCodebooks):
        return _largest_group(fit.semantic_ids) <= 1 + sum(sizes) - len(sizes)
    return _largest_group(fit.semantic_ids[:, :-1]) <= sizes[-1]


def _largest_group(codes: Int[np.ndarray, "items codes"]) -> int:
    order, starts = groups_of(codes)
    return int(np.diff(np.append(starts, len(order))).max(initial=0))


def with_numbers(
    semantic_ids: Int[np.ndarray, "items levels"],
) -> Int[np.ndarray, "items levels_plus_one"]:
    """Appends a code that numbers the items of each bucket from 0, in the order of their rows.

    Source: TIGER (arXiv:2305.05065), section 3.1.
    """
    order, starts = groups_of(semantic_ids)
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
    order, starts = groups_of(semantic_ids[:, :-1])
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
    return len(groups_of(semantic_ids)[1])


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
