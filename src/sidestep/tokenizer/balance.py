"""Balanced assignment: all codes get equally many items, at little more distance than the nearest.

It is a transport problem: items are sources, codes are sinks of equal size. Its dual is a price per
code: with the right prices every item simply takes the code of least squared distance plus price.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from sidestep.tokenizer.codebooks import chunks

EXACT_ITEMS = 600
"""Up to so many items the assignment is exact: a linear assignment to as many places."""


def sinkhorn_prices(
    vectors: Float[np.ndarray, "items dim"],
    codewords: Float[np.ndarray, "codes dim"],
    prices: Float[np.ndarray, " codes"],
    *,
    temperatures: Sequence[float],
) -> Float[np.ndarray, " codes"]:
    """Raises the prices of codes that would get too many items, and lowers the others.

    Each round is one Sinkhorn iteration (Cuturi 2013) in the log domain, in parts of the items, so
    that memory does not grow with items times codes:

        share[i, k] = softmax_k(-(|v_i - c_k|² + price_k) / temperature)
        price_k += temperature · log(Σ_i share[i, k] / (items / codes))

    Args:
        vectors: of the items.
        codewords: of the codes.
        prices: to start from, such as zeros.
        temperatures: one per round, in the unit of the squared distance. High ones find their
            prices in few rounds, low ones find the prices of hard assignments: let them fall.

    Returns:
        New prices, of mean zero.
    """
    half_squares = 0.5 * np.square(codewords).sum(axis=1)
    target = len(vectors) / len(codewords)
    prices = prices.astype(np.float64)
    for temperature in temperatures:
        totals = np.zeros(len(codewords))
        offsets = (half_squares + 0.5 * prices).astype(np.float32)
        for part in chunks(len(vectors), len(codewords)):
            scores = vectors[part] @ codewords.T
            scores -= offsets
            scores -= scores.max(axis=1, keepdims=True)
            scores *= 2 / temperature
            shares = np.exp(scores, out=scores)
            shares /= shares.sum(axis=1, keepdims=True)
            totals += shares.sum(axis=0)
        # A code that nobody wants would otherwise fall without bound.
        ratios = np.clip(totals / target, 1e-3, None)
        prices += temperature * np.log(ratios)
        prices -= prices.mean()
    return prices.astype(np.float32)


def balanced_codes(
    vectors: Float[np.ndarray, "items dim"],
    codewords: Float[np.ndarray, "codes dim"],
    prices: Float[np.ndarray, " codes"],
) -> Int[np.ndarray, " items"]:
    """A code per item, such that the numbers of items of any two codes differ by at most one.

    Small catalogs get the assignment of least squared distance, whatever the prices. In large ones
    every item asks for the code of least squared distance plus price; a code that is asked for too
    often keeps the items that would lose most by their second choice, and the others ask again
    among the codes with room.
    """
    num_items, num_codes = len(vectors), len(codewords)
    if num_items <= EXACT_ITEMS:
        return _exact(vectors, codewords)
    codes = np.full(num_items, -1, dtype=np.int32)
    # First to equal sizes; what is left over, less than one item per code, goes on top.
    for room in (num_items // num_codes, 1):
        rooms = np.full(num_codes, room)
        free = np.flatnonzero(codes < 0)
        while len(free) and rooms.any():
            wanted, regrets = _two_best(vectors[free], codewords, prices, rooms > 0)
            order = np.lexsort((-regrets, wanted))
            counts = np.bincount(wanted, minlength=num_codes)
            ranks = np.arange(len(free)) - np.repeat(np.cumsum(counts) - counts, counts)
            is_in = ranks < rooms[wanted[order]]
            codes[free[order[is_in]]] = wanted[order[is_in]]
            rooms -= np.minimum(counts, rooms)
            free = np.sort(free[order[~is_in]])
    return codes


def _two_best(
    vectors: Float[np.ndarray, "items dim"],
    codewords: Float[np.ndarray, "codes dim"],
    prices: Float[np.ndarray, " codes"],
    is_open: Bool[np.ndarray, " codes"],
) -> tuple[Int[np.ndarray, " items"], Float[np.ndarray, " items"]]:
    """The best open code of each item, and how much worse the second best is."""
    open_codes = np.flatnonzero(is_open)
    offsets = (0.5 * np.square(codewords).sum(axis=1) + 0.5 * prices)[open_codes]
    open_codewords = codewords[open_codes]
    wanted = np.empty(len(vectors), dtype=np.int64)
    regrets = np.zeros(len(vectors), dtype=np.float32)
    for part in chunks(len(vectors), len(open_codes)):
        scores = vectors[part] @ open_codewords.T
        scores -= offsets
        best = scores.argmax(axis=1)
        wanted[part] = open_codes[best]
        if len(open_codes) > 1:
            rows = np.arange(len(scores))
            highest = scores[rows, best]
            scores[rows, best] = -np.inf
            regrets[part] = highest - scores.max(axis=1)
    return wanted, regrets


def _exact(
    vectors: Float[np.ndarray, "items dim"], codewords: Float[np.ndarray, "codes dim"]
) -> Int[np.ndarray, " items"]:
    """The assignment of least total squared distance, by one place per item that a code may get."""
    num_items, num_codes = len(vectors), len(codewords)
    base, extra = divmod(num_items, num_codes)
    costs = np.square(codewords.astype(np.float64)).sum(axis=1)
    costs = costs - 2 * vectors.astype(np.float64) @ codewords.T
    costs -= costs.min()
    # Each code has `base` places that must be taken and, unless the items go round, one that may.
    must = np.repeat(np.arange(num_codes), base)
    may = np.arange(num_codes if extra else 0)
    places = np.concatenate([must, may])
    # No saving of distance outweighs an empty place of the first sort.
    penalty = (costs.max() + 1) * num_items
    table = costs[:, places]
    table[:, len(must) :] += penalty
    _, chosen = linear_sum_assignment(table)
    return places[chosen].astype(np.int32)
