"""Equal codes: the items that share them, found by one sort."""

import numpy as np
from jaxtyping import Int


def groups_of(
    codes: Int[np.ndarray, "items codes"],
) -> tuple[Int[np.ndarray, " items"], Int[np.ndarray, " groups"]]:
    """Items sorted by their codes, ties by index, and the start of each group in that order.

    Items with equal codes are a group; without any codes, all items are one.
    """
    if codes.shape[1] == 0:
        return np.arange(len(codes)), np.zeros(min(1, len(codes)), dtype=np.int64)
    order = np.lexsort(codes.T[::-1])
    ordered = codes[order]
    is_start = np.ones(len(order), dtype=bool)
    is_start[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return order, np.flatnonzero(is_start)
