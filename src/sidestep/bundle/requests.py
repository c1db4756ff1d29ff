"""Requests: the questions of users, and their checks.

The checks refuse arguments of a wrong type first: a text would pass for a list of letters.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from sidestep.search.policy import SearchPolicy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One user's question for a ranked list; `LoadedRecommender.answer` answers many at once.

    Items that must not be recommended take no place in a search: the list is that of a catalog
    without them.

    history: IDs of past items, oldest first. IDs that the catalog lacks are dropped and counted.
        Only the most recent `max_history` of the rest are looked at. May be empty, see
        `LoadedRecommender.knows_empty_history`.
    times: of the items of the history, in the unit of the timestamps that the network was trained
        on; None if unknown. Only where `LoadedRecommender.reads_times`.
    moment: when the user is recommended to, in the same unit; None if unknown.
    user_info: what describes the user: values by column, texts or whole numbers; None if nothing is
        known. Only where `LoadedRecommender.user_columns` is not None.
    k: the longest list wanted. A search may find fewer.
    exclude_seen: leaves out all items of the history, also those not looked at.
    excluded: IDs of further items to leave out; IDs that the catalog lacks do no harm.
    available: IDs of the only items that may be recommended; None means all. IDs that the catalog
        lacks do no harm beside others.
    where: filters: per column of the catalog's texts a wanted value, or several of which any will
        do; an item must pass every column. See `sidestep.catalog.filters.matching` for which cells
        have a value. None means no filter. Where no item passes everything, the list is empty.
    search: of the semantic IDs; None is the bundle's own, with at least 50 and `k` beams. Only for
        kinds that search. Requests with one search object, or with equal ones, share their work.
    num_new_places: how many of the `k` places, the last ones, go to items that were appended after
        the training; without reserved places, the model gives such items none. The best new items,
        ranked among themselves, fill the places. If there are too few, the ordinary list goes on.
        With `k`, all places go to new items.
    """

    history: Sequence[str]
    times: Sequence[int] | None = None
    moment: int | None = None
    user_info: Mapping[str, Any] | None = None
    k: int = 10
    exclude_seen: bool = False
    excluded: Collection[str] = ()
    available: Collection[str] | None = None
    where: Mapping[str, str | Iterable[str]] | None = None
    search: SearchPolicy | None = None
    num_new_places: int = 0


def check_request(
    request: Request, *, reads_times: bool, user_columns: Collection[str] | None
) -> None:
    """Checks all of a request but its search and what is eligible.

    Args:
        request: as a caller gives it.
        reads_times: whether the recommender can use times.
        user_columns: the columns of users that the recommender reads; None if it reads none.

    Raises:
        TypeError: a value has a wrong type; says what to pass.
        ValueError: a length, a number of places, times or a description of the user that cannot be.
    """
    check_length(request.k)
    _check_new_places(request.num_new_places, request.k)
    for name, row in (("history", request.history), ("excluded", request.excluded)):
        if isinstance(row, str) or not isinstance(row, Collection):
            raise TypeError(f"{name} must be a list of item IDs, got {row!r:.60}.")
        check_ids(row)
    _check_times(request, reads_times=reads_times)
    if request.user_info is not None:
        checked_user_info([request.user_info], [request.history], user_columns)


def check_rows(histories: Any, excluded: Any, times: Any, moments: Any) -> None:
    """Checks that arguments of many users have one entry per user.

    Args:
        histories: one list of item IDs per user.
        excluded: one list of item IDs per user; None for none.
        times: one list of times per user; None if unknown.
        moments: one per user; None if unknown.

    Raises:
        TypeError: an argument has a wrong type; says what to pass.
        ValueError: there is no user, or an argument has not one entry per user.
    """
    _check_lists("histories", histories)
    if not len(histories):
        raise ValueError(
            "histories is empty, so that no user is asked for; pass one list of item IDs per user, "
            "[[]] for one user without a history."
        )
    if excluded is not None:
        _check_lists("excluded", excluded)
        if len(excluded) != len(histories):
            raise ValueError(
                f"excluded has {len(excluded)} entries for {len(histories)} histories; give one "
                "per user, [] where nothing is excluded."
            )
    if times is not None and len(times) != len(histories):
        raise ValueError(
            f"times has {len(times)} lists for {len(histories)} histories; give one per user, with "
            "one time per item of the history."
        )
    if moments is not None and len(moments) != len(histories):
        raise ValueError(
            f"moments has {len(moments)} entries for {len(histories)} histories; give one per user."
        )


def checked_user_info(
    user_info: Any, histories: Any, columns: Collection[str] | None
) -> pl.DataFrame | None:
    """Columns that describe the users of a recommendation, as a frame of text.

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
            if not isinstance(item_id, int | float | None):
                remedy = "pass each ID as a text of its own"
            raise TypeError(
                f"{what} IDs are text, got {type(item_id).__name__} {item_id}; {remedy}."
            )


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


def _check_times(request: Request, *, reads_times: bool) -> None:
    times, moment = request.times, request.moment
    if times is None and moment is None:
        return
    if not reads_times:
        raise ValueError(
            "times are given, and this network reads none; leave times and moments out, or train "
            "with model.times: true."
        )
    if times is None:
        raise ValueError("moments need the times of the items before them; give times, too.")
    if len(times) != len(request.history):
        raise ValueError(
            f"times has {len(times)} entries for a history of {len(request.history)} items; "
            "give one time per item."
        )
    for time in times if moment is None else (*times, moment):
        if isinstance(time, bool) or not isinstance(time, int | np.integer):
            raise TypeError(f"times are whole numbers, got {type(time).__name__} {time!r}.")
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("times of a user must not fall: histories are oldest first.")
    if moment is not None and len(times) and moment < times[-1]:
        raise ValueError(
            f"moment is {moment}, before the last item of the history at {times[-1]}; give a later "
            "moment, or leave out the items that came after it."
        )


def _check_new_places(num_new_places: Any, k: int) -> None:
    if isinstance(num_new_places, bool) or not isinstance(num_new_places, int | np.integer):
        kind = type(num_new_places).__name__
        raise TypeError(f"num_new_places is an integer, got {kind} {num_new_places!r}.")
    if not 0 <= num_new_places <= k:
        raise ValueError(
            f"num_new_places must lie between 0 and the length of the list, {k}, got "
            f"{num_new_places}."
        )


def _check_lists(name: str, rows: Any) -> None:
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
