"""Rows of a log: which rows stay, and in which order. Users and items are numbers here.

A log is parallel arrays in the order of its source. Every function returns indices of rows. The
caller takes the rows, so that the other arrays of a log are copied only once.
"""

from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Int, Integer


def numbered(values: pl.Series) -> Int[np.ndarray, " rows"]:
    """Numbers distinct texts or categories from 0 on, in the order of first appearance."""
    categories = values
    if not isinstance(values.dtype, pl.Categorical):
        categories = values.cast(pl.Categorical(pl.Categories.random()))
    codes = categories.to_physical().to_numpy()
    if not len(codes):
        return codes.astype(np.int32)
    distinct = categories.unique(maintain_order=True).to_physical().to_numpy()
    number_of = np.zeros(int(distinct.max()) + 1, dtype=np.int32)
    number_of[distinct] = np.arange(len(distinct), dtype=np.int32)
    numbers: Int[np.ndarray, " rows"] = number_of[codes]
    return numbers


def chronological_rows(
    users: Int[np.ndarray, " rows"],
    timestamps: Int[np.ndarray, " rows"] | None,
    ties: Integer[np.ndarray, " rows"] | None = None,
) -> Int[np.ndarray, " rows"]:
    """Rows user by user, the oldest row of each user first; users in order of first appearance.

    Args:
        users: number of the user of each row, from 0 on.
        timestamps: one per row; None if the order of the rows is the order of events.
        ties: rows with equal timestamps are sorted by this number, smallest first; None leaves such
            rows in their order.
    """
    rows = np.arange(len(users))
    if not len(rows):
        return rows
    first_row = np.zeros(int(users.max()) + 1, dtype=np.int64)
    first_row[users[::-1]] = rows[::-1]  # of several writes to one place, the last one counts
    keys = [first_row[users]]
    if timestamps is not None:
        keys.insert(0, timestamps)
        if ties is not None:
            keys.insert(0, ties)
    return np.lexsort(keys)


def distinct_rows(
    users: Int[np.ndarray, " rows"],
    items: Int[np.ndarray, " rows"],
    timestamps: Int[np.ndarray, " rows"] | None,
    policy: Literal["first", "last"],
) -> Int[np.ndarray, " kept"]:
    """Keeps the oldest or the newest row of each user and item, in the order of the rows.

    If two rows have the same timestamp or none, the earlier row counts as older.
    """
    keys = [items, users] if timestamps is None else [timestamps, items, users]
    order = np.lexsort(keys)
    users, items = users[order], items[order]
    is_other = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
    edge = np.ones(min(1, len(users)), dtype=bool)
    is_kept = np.concatenate([edge, is_other] if policy == "first" else [is_other, edge])
    return np.sort(order[is_kept])


def k_core_rows(
    users: Int[np.ndarray, " rows"], items: Int[np.ndarray, " rows"], k: int
) -> Int[np.ndarray, " kept"]:
    """The largest part in which every user and every item has at least `k` rows.

    Dropping an item leaves its users with fewer rows, and dropping a user leaves its items with
    fewer rows. So dropping is repeated until nothing changes. The result may be empty.

    Raises:
        ValueError: if `k` is less than 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    rows = np.arange(len(users))
    while True:
        num_by_user = np.bincount(users)
        num_by_item = np.bincount(items)
        is_kept = (num_by_user[users] >= k) & (num_by_item[items] >= k)
        if is_kept.all():
            return rows
        rows, users, items = rows[is_kept], users[is_kept], items[is_kept]
