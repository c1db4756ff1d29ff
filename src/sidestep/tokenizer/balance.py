"""Balanced assignment: all codes get equally many items, at little more than the least distance.

Balanced assignment is a transport problem: items are sources, codes are sinks of equal size. The
dual of the problem is a price per code. With the right prices, every item takes the code of least
squared distance plus price.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from sidestep.tokenizer.codebooks import chunks

EXACT_ITEMS = 600
"""Most items of an exact assignment, which is a linear assignment of items to as many places."""


def sinkhorn_prices(
    vectors: Float[np.ndarray, "items dim"],
    codewords: Float[np.ndarray, "codes dim"],
    prices: Float[np.ndarray, " codes"],
    *,
    temperatures: Sequence[float],
) -> Float[np.ndarray, " codes"]:
    """Raises the prices of codes that would get too many items, and lowers the others.

    Each round is one Sinkhorn iteration (Cuturi 2013) in the log domain. Items are processed in
    parts, so that memory does not grow with items times codes:

        share[i, k] = softmax_k(-(|v_i - c_k|² + price_k) / temperature)
        price_k += temperature · log(Σ_i share[i, k] / (items / codes))

    Args:
        vectors: vectors of the items.
        codewords: codewords of the codes.
        prices: prices at the start, such as zeros.
        temperatures: one per round, in the unit of the squared distance. They should fall: high
            temperatures converge in few rounds, low ones give the prices of a hard assignment.

    Returns:
        New prices, with mean zero.
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
        # Otherwise the price of a code that no item takes would fall without bound.
        ratios = np.clip(totals / target, 1e-3, None)
        prices += temperature * np.log(ratios)
        prices -= prices.mean()
    return prices.astype(np.float32)


def balanced_codes(
    vectors: Float[np.ndarray, "items dim"],
    codewords: Float[np.ndarray, "codes dim"],
    prices: Float[np.ndarray, " codes"],
) -> Int[np.ndarray, " items"]:
    """Assigns a code to each item. The numbers of items of any two codes differ by at most one.

    Small catalogs get the assignment of least squared distance, whatever the prices are. In a large
    catalog, every item asks for the code of least squared distance plus price. A code that too many
    items ask for keeps the items that would lose most by their second choice. The other items ask
    again, among the codes with room.
    """
    num_items, num_codes = len(vectors), len(codewords)
    if num_items <= EXACT_ITEMS:
        return _exact(vectors, codewords)
    codes = np.full(num_items, -1, dtype=np.int32)
    # First, all codes get equally many items. The rest, less than one item per code, follows.
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
    """The best open code of each item, and the extra cost of its second best code."""
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
    """The assignment of least total squared distance. A code has one place per item it may get."""
    num_items, num_codes = len(vectors), len(codewords)
    base, extra = divmod(num_items, num_codes)
    costs = np.square(codewords.astype(np.float64)).sum(axis=1)
    costs = costs - 2 * vectors.astype(np.float64) @ codewords.T
    costs -= costs.min()
    # Each code has `base` places that must be taken. Unless the items divide evenly, it also has
    # one place that may be taken.
    must = np.repeat(np.arange(num_codes), base)
    may = np.arange(num_codes if extra else 0)
    places = np.concatenate([must, may])
    # So large that no saving of distance is worth an empty place that must be taken.
    penalty = (costs.max() + 1) * num_items
    table = costs[:, places]
    table[:, len(must) :] += penalty
    _, chosen = linear_sum_assignment(table)
    return places[chosen].astype(np.int32)
