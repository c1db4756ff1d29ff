"""Frames in memory: reads frames of polars, pandas and Arrow in the same way as tables in files."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import polars as pl
from pyarrow import ArrowException

from sidestep.data.importers.columns import Table
from sidestep.data.importers.doubts import doubts_about, doubts_about_users
from sidestep.data.importers.sources import listed
from sidestep.data.importers.table_rows import (
    Columns,
    Gaps,
    Missing,
    RowsRead,
    items_of,
    read_rows,
    users_of,
)
from sidestep.data.interactions import Interactions
from sidestep.data.users import UserTable
from sidestep.notices import in_python, naming_arguments, note, warn

TIME = "timestamp"
"""Column of times if no column is named."""

_LIKE_TIMES = re.compile(r"time|date|(^|_)(at|ts)$")
"""Pattern of names of columns that probably hold times."""


def read_frames(
    interactions: Any,
    items: Any,
    columns: Columns,
    *,
    items_item: str,
    text_columns: Sequence[str] | None,
    gaps: Gaps,
) -> RowsRead:
    """Reads interactions and items of two frames. Tells of rows left out and of odd values.

    Args:
        interactions: one row per interaction.
        items: one row per item; None takes the items of the interactions, without texts.
        columns: the names of the columns of `interactions`. If no column of times is named, the
            column `TIME` holds the times.
        items_item: the column of item IDs in `items`.
        text_columns: the columns of `items` to keep; None keeps all.
        gaps: treatment of rows in which an ID or a time is missing.

    Raises:
        TypeError: an argument is no frame.
        ValueError: a column is missing, or a cell is invalid; the message names the row.
    """
    for argument, value in (("text_columns", text_columns), ("missing_words", gaps.words)):
        if isinstance(value, str):
            raise TypeError(f"{argument} is a list of texts, got a text; pass [{value!r}].")
    for argument, choice, choices in (
        ("missing_users", gaps.users, get_args(Missing)),
        ("missing_items", gaps.items, get_args(Missing)),
        ("missing_times", gaps.times, ("refuse", "drop")),
    ):
        if choice not in choices:
            raise ValueError(f"{argument} is one of {', '.join(choices)}, got {choice!r:.60}.")
    frame = _polars(interactions, "interactions")
    if columns.time is None and TIME in frame.columns:
        columns = replace(columns, time=TIME)
    _refuse_missing_columns(frame, columns)
    if not frame.height:
        raise ValueError("interactions: there is no row in the frame; pass a frame with rows.")
    with naming_arguments():
        table = _table(frame, "interactions", columns.all)
        known = None
        if items is not None:
            kept = None if text_columns is None else [items_item, *text_columns]
            known = items_of(_table(_polars(items, "items"), "items", kept), items_item)
        rows = read_rows(table, columns, known, items_name="items", gaps=gaps)
    if columns.time is None and (
        found := [name for name in frame.columns if _is_time(frame[name])]
    ):
        warn(
            f"no column of times is named, so the rows are taken in their order; if "
            f"{found[0]!r:.60} holds the times, name it: time={found[0]!r:.60}."
        )
    for why, number in rows.left_out.items():
        note(f"left out because they {why}: {number:,} interactions.")
    for remark in rows.remarks:
        note(remark)
    for doubt in doubts_about(rows.interactions):
        warn(in_python(doubt))
    return rows


def read_users(users: Any, user: str, interactions: Interactions) -> UserTable:
    """Reads the table of users from a frame. Warns if the table has no user of the interactions.

    Args:
        users: one row per user.
        user: the column of user IDs.
        interactions: the interactions of the users.

    Raises:
        TypeError: `users` is no frame.
        ValueError: the column is missing, or an ID is missing or repeated; the message names the
            row.
    """
    with naming_arguments():
        table = users_of(_table(_polars(users, "users"), "users", None), user)
    for doubt in doubts_about_users(table, interactions):
        warn(in_python(doubt))
    return table


def _refuse_missing_columns(frame: pl.DataFrame, columns: Columns) -> None:
    """Raises a `ValueError` if a column is missing; the message says which argument names it."""
    for argument in ("user", "item", "time", "event", "value"):
        name = getattr(columns, argument)
        if name is not None and name not in frame.columns:
            raise ValueError(
                f"interactions: there is no column {name!r:.60}; there are "
                f"{listed(frame.columns)}. Name the right column with {argument}=..."
            )


def _is_time(column: pl.Series) -> bool:
    """Tells whether a column looks like times, by its type or its name."""
    return column.dtype.is_temporal() or _LIKE_TIMES.search(column.name.lower()) is not None


def _table(frame: pl.DataFrame, name: str, columns: Sequence[str] | None) -> Table:
    """Makes a table of a frame. Its rows are counted from 0."""
    table = Table(path=Path(name), frame=frame, place_of=lambda row: f"row {row}")
    if columns is None:
        return table
    columns = list(dict.fromkeys(columns))
    for column in columns:
        table.column(column)
    return Table(path=table.path, frame=table.frame.select(columns), place_of=table.place_of)


def _polars(frame: Any, name: str) -> pl.DataFrame:
    """Converts a frame to a frame of polars.

    Raises:
        TypeError: the argument is no frame.
        ValueError: a column holds values of several types.
    """
    has_columns = hasattr(frame, "columns") and hasattr(frame, "to_numpy")  # older pandas
    if not (isinstance(frame, pl.LazyFrame) or hasattr(frame, "__arrow_c_stream__") or has_columns):
        raise TypeError(
            f"{name} is a {type(frame).__name__}; pass a frame of polars, pandas or Arrow."
        )
    try:
        return _converted(frame)
    except (ArrowException, pl.exceptions.PolarsError, TypeError) as error:
        raise ValueError(
            f"{name}: a column cannot be read ({error}); give all values of a column one type, "
            "such as text."
        ) from error


def _converted(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    if hasattr(frame, "__arrow_c_stream__"):  # Arrow tables, pandas 2.2 and later, DuckDB, ...
        return pl.DataFrame(frame)
    return pl.DataFrame({str(column): frame[column].to_numpy() for column in frame.columns})
