"""Checks of requests: arguments of a wrong type are refused, before a text passes for a list."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl


def check_request(histories: Any, k: Any, available: Any, excluded: Any) -> None:
    """Checks the arguments of a recommendation.

    Args:
        histories: one list of item IDs per user.
        k: the length of the lists.
        available: item IDs; None for all.
        excluded: one list of item IDs per user; None for none.

    Raises:
        TypeError: an argument has a wrong type; says what to pass.
        ValueError: there is no user, `k` is below 1, or `excluded` has not one entry per user.
    """
    check_length(k)
    _check_rows("histories", histories)
    if not len(histories):
        raise ValueError(
            "histories is empty, so that no user is asked for; pass one list of item IDs per user, "
            "[[]] for one user without a history."
        )
    if isinstance(available, str):
        raise TypeError(f'available is a collection of item IDs, got a text; pass ["{available}"].')
    if available is not None:
        check_ids(available)
    if excluded is not None:
        _check_rows("excluded", excluded)
        if len(excluded) != len(histories):
            raise ValueError(
                f"excluded has {len(excluded)} entries for {len(histories)} histories; give one "
                "per user, [] where nothing is excluded."
            )


def check_times(times: Any, moments: Any, histories: Any, *, reads_times: bool) -> None:
    """Checks the times of a recommendation.

    Args:
        times: per user the times of the items of the history; None if unknown.
        moments: per user when it is recommended to; None if unknown.
        histories: what `check_request` has accepted.
        reads_times: whether the recommender can use times.

    Raises:
        TypeError: a time is no whole number.
        ValueError: nobody would read the times, they are not one per item, times of a user fall,
            or moments are given without times, or not one per user.
    """
    if times is None and moments is None:
        return
    if not reads_times:
        raise ValueError(
            "times are given, and this network reads none; leave times and moments out, or train "
            "with model.times: true."
        )
    if times is None:
        raise ValueError("moments need the times of the items before them; give times, too.")
    if len(times) != len(histories) or any(
        len(row) != len(history) for row, history in zip(times, histories, strict=False)
    ):
        raise ValueError(
            "times must hold one list per user, with one time per item of the history."
        )
    if moments is not None and len(moments) != len(histories):
        raise ValueError(f"moments has {len(moments)} entries for {len(histories)} histories.")
    for row in (*times, moments or ()):
        for time in row:
            if isinstance(time, bool) or not isinstance(time, int | np.integer):
                raise TypeError(f"times are whole numbers, got {type(time).__name__} {time!r}.")
    if any(later < earlier for row in times for earlier, later in pairwise(row)):
        raise ValueError("times of a user must not fall: histories are oldest first.")


def checked_user_info(
    user_info: Any, histories: Any, columns: Collection[str] | None
) -> pl.DataFrame | None:
    """What describes the users of a recommendation, as a frame of text.

    Args:
        user_info: a frame with one row per user, or one mapping per user from columns to values;
            None if nothing is known.
        histories: what `check_request` has accepted.
        columns: the columns that the recommender reads; None if it reads none.

    Raises:
        TypeError: `user_info` is something else, or a value is neither a text nor a whole number.
        ValueError: nobody would read it, there is not one entry per user, or a column is missing or
            is not read.
    """
    if user_info is None:
        return None
    if columns is None:
        raise ValueError(
            "user_info is given, and this network reads no columns of users; leave user_info out, "
            "or train with model.user_columns."
        )
    if isinstance(user_info, pl.DataFrame):
        frame = user_info
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            raise ValueError(
                f"user_info lacks {', '.join(missing)}; the network reads {', '.join(columns)}, "
                f"and there are: {', '.join(frame.columns) or 'none'}."
            )
        frame = frame.select(pl.col(name).cast(pl.String) for name in columns)
    else:
        frame = _info_frame(user_info, columns)
    if frame.height != len(histories):
        raise ValueError(f"user_info has {frame.height} rows for {len(histories)} histories.")
    return frame


def _info_frame(user_info: Any, columns: Collection[str]) -> pl.DataFrame:
    """One row of texts per mapping."""
    if not isinstance(user_info, Sequence) or not all(
        isinstance(row, Mapping) for row in user_info
    ):
        raise TypeError(
            "user_info is a frame with one row per user, or a list with one mapping per user, such "
            f"as [{{'{next(iter(columns))}': '...'}}], got {user_info!r:.60}."
        )
    for row in user_info:
        for name, value in row.items():
            if name not in columns:
                raise ValueError(
                    f"user_info names the column {name!r:.60}, and the network reads "
                    f"{', '.join(columns)}."
                )
            if isinstance(value, bool) or not isinstance(value, str | int | np.integer | None):
                raise TypeError(
                    f"user_info: {name} is a text or a whole number, got "
                    f"{type(value).__name__} {value!r:.60}."
                )
    texts = {
        name: [None if row.get(name) is None else str(row[name]) for row in user_info]
        for name in columns
    }
    return pl.DataFrame(texts, schema=dict.fromkeys(columns, pl.String))


def check_new_places(num_new_places: Any, k: int) -> None:
    """Raises a `TypeError` or `ValueError` for a number of places that a list of `k` has not."""
    if isinstance(num_new_places, bool) or not isinstance(num_new_places, int | np.integer):
        kind = type(num_new_places).__name__
        raise TypeError(f"num_new_places is an integer, got {kind} {num_new_places!r}.")
    if not 0 <= num_new_places <= k:
        raise ValueError(
            f"num_new_places must lie between 0 and the length of the list, {k}, got "
            f"{num_new_places}."
        )


def _check_rows(name: str, rows: Any) -> None:
    # An iterator is no collection: the check would use it up.
    if not isinstance(rows, Collection):
        raise TypeError(f"{name} must be one list of item IDs per user, got {rows!r}.")
    if isinstance(rows, str) or any(isinstance(row, str) for row in rows):
        raise TypeError(
            f"{name} must be one list of item IDs per user, got a text; for one user "
            'pass [["id-1", "id-2"]].'
        )
    for row in rows:
        if not isinstance(row, Collection):
            raise TypeError(
                f"{name} must be one list of item IDs per user, got "
                f"{type(row).__name__} {row!r}; for a user without any pass []."
            )
        check_ids(row)


def check_length(k: Any) -> None:
    """Raises a `TypeError` or `ValueError` for a length that is no whole number from 1."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise TypeError(f"k is an integer, got {type(k).__name__} {k!r}.")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")


def check_ids(item_ids: Iterable[Any], what: str = "item") -> None:
    """Raises a `TypeError` for an ID that is no text, with the text to pass instead.

    Args:
        item_ids: the IDs.
        what: what they are IDs of, for the message.
    """
    for item_id in item_ids:
        if not isinstance(item_id, str):
            remedy = "leave it out" if item_id is None else f"pass {str(item_id)!r}"
            raise TypeError(
                f"{what} IDs are text, got {type(item_id).__name__} {item_id}; {remedy}."
            )
