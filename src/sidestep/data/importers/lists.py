"""Lists: tables with a list of items in each row, one row per user, per session or per moment."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from sidestep.data.given_rows import GivenRow, num_extending, sequences_of
from sidestep.data.importers.columns import Table, read_table
from sidestep.data.importers.imported import Imported, imported
from sidestep.data.importers.list_columns import (
    are_bracketed_lists,
    is_list_of_times,
    read_lists,
)
from sidestep.data.importers.log import GrowingLog, Log, Thinning
from sidestep.data.importers.table import read_items

ListRows = Literal["sessions", "windows"]
"""Meaning of a user's lists: they follow each other, or show one sequence at several moments."""

_SHOWN_TWICE = "stand in several windows of their user"


def import_lists(
    path: Path,
    *,
    user: str = "user_id",
    items_column: str = "item_ids",
    time: str | None = None,
    event: str | None = None,
    rows: ListRows | None = None,
    items_path: Path | None = None,
    items_item: str = "item_id",
    thinning: Thinning = Thinning(),  # noqa: B008 - frozen
    name: str | None = None,
) -> Imported:
    """Imports rows of a user and a list of items, oldest first.

    A list is a list of Parquet or JSON, or a text that `list_columns` can read: in brackets, as
    databases and languages write it, or IDs with commas, semicolons, bars or blanks between them.

    Args:
        path: a .csv, .tsv, .parquet, .jsonl or .ndjson file.
        user: the column of users; a user may have several rows.
        items_column: the column of lists. Empty lists are skipped.
        time: the column of times. A time may be that of a whole row, whose items then keep their
            order. Or it is a list as long as the list of items. Without times, the order of a
            user's rows is the order of events.
        event: the column of types of events, such as "purchase": one type of a whole row, or a list
            as long as the list of items.
        rows: "sessions": the lists of a user follow each other. "windows": each list is a part of
            the user's one sequence, such as all items up to some moment, and an item that several
            lists show is one interaction. None takes sessions, with a remark if they look like
            windows.
        items_path: a file of items; without it the items have no texts.
        items_item: the column of item IDs in `items_path`.
        thinning: which interactions are kept; there are no values.
        name: name of the dataset; None takes that of the file.

    Raises:
        ValueError: if a file is invalid; the message names the file and, if there is one, the line.
    """
    lists = [name for name in (items_column, time, event) if name is not None]
    table = read_table(path, [user, *lists], lists=lists)
    found = read_lists(table, items_column)
    if not any(found.cells):
        raise ValueError(f"{path}: every list in {items_column!r} is empty; name another column.")
    users = table.ids(user)
    if rows == "windows":
        if event is not None:
            raise ValueError(
                "windows say nothing of types of events, because several of them show the same "
                "interaction; leave --event out, or import a row per interaction as a table."
            )
        log = _windows(table, users, items_column, found.cells, time)
    else:
        log = _sessions(table, users, items_column, found.cells, time, event)
    texts = None if items_path is None else read_items(items_path, items_item, None).frame
    log = log.thinned(thinning, str(path))
    done = imported(log, texts, paths=(path, items_path), name=name or path.stem)
    remarks = [*done.remarks, *found.remarks]
    if num_empty := sum(not cell for cell in found.cells):
        remarks.append(f"{num_empty} rows have an empty list and are passed over.")
    if rows is None and (remark := _windows_remark(users, found.cells)):
        remarks.append(remark)
    return replace(done, remarks=tuple(remarks))


def _sessions(
    table: Table,
    users: pl.Series,
    name: str,
    cells: list[list[str | None]],
    time: str | None,
    event: str | None,
) -> Log:
    """Makes an interaction of every element of every list."""
    exploded = _exploded(table, name, cells)
    timestamps = None if time is None else _times(table, time, cells, exploded)
    growing = GrowingLog(table.path)
    events = None if event is None else _events(table, event, cells, exploded)
    user_ids = users.gather(exploded.frame["row"])
    growing.append(user_ids, exploded.ids(name), timestamps, events=events)
    return growing.log()


def _windows(
    table: Table, users: pl.Series, name: str, cells: list[list[str | None]], time: str | None
) -> Log:
    """Rebuilds the one sequence of every user from the lists.

    If each item has its own time, equal items at equal times are one interaction. Otherwise, two
    lists are joined if the end of one is the start of the other, see `sequences_of`.
    """
    exploded = _exploded(table, name, cells)
    frame = pl.DataFrame({"user": users.gather(exploded.frame["row"]), "item": exploded.ids(name)})
    if time is None:
        sequences = sequences_of(_as_rows(users, cells))
        joined = [(user, item) for user, items in sequences.items() for item in items]
        kept = pl.DataFrame(joined, schema={"user": pl.String, "item": pl.String}, orient="row")
    else:
        if not _is_timed_by_item(table, time):
            raise ValueError(
                f"{table.path}: {time!r} holds a time per row, but not the time of each item in "
                "a window; leave the times out, with the rows of each user in order."
            )
        times = _times(table, time, cells, exploded)
        kept = frame.with_columns(time=times).unique(maintain_order=True)
    growing = GrowingLog(table.path)
    growing.append(kept["user"], kept["item"], None if time is None else kept["time"])
    log = growing.log()
    num_left = frame.height - kept.height
    return replace(log, left_out={**log.left_out, _SHOWN_TWICE: num_left}) if num_left else log


def _as_rows(users: pl.Series, cells: list[list[str | None]]) -> list[GivenRow[str | None]]:
    """Makes a row of each list, with its last item as the target."""
    return [
        GivenRow(user_id=user, history=tuple(cell[:-1]), target=cell[-1])
        for user, cell in zip(users, cells, strict=True)
        if cell
    ]


def _windows_remark(users: pl.Series, cells: list[list[str | None]]) -> str | None:
    """Remark for the case that most lists continue another list of their user; otherwise None."""
    rows = _as_rows(users, cells)
    per_user = Counter(row.user_id for row in rows)
    num_further = sum(per_user.values()) - len(per_user)
    num_extended = num_extending(rows)
    if not num_extended or 2 * num_extended < num_further:
        return None
    as_sessions = sum(map(len, cells))
    as_windows = sum(map(len, sequences_of(rows).values()))
    return (
        f"{num_extended:,} of {len(rows):,} lists repeat another list of their user and go on from "
        f"there, as windows that slide over one history do. As sessions they are {as_sessions:,} "
        f"interactions, as windows {as_windows:,}. If they are windows, import them with --rows "
        "windows; if each list is a session of its own, --rows sessions silences this."
    )


def _is_timed_by_item(table: Table, time: str) -> bool:
    column = table.column(time)
    return column.dtype.is_nested() or is_list_of_times(column)


def _times(table: Table, name: str, cells: list[list[str | None]], items: Table) -> pl.Series:
    """Time of each item: the time of its row, or its own time if the cells are lists."""
    column = table.column(name)
    if not _is_timed_by_item(table, name):
        return table.times(name).gather(items.frame["row"])
    if column.dtype.is_nested():
        column = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
        times = [[] if cell is None else cell for cell in column.to_list()]
        elements = column.filter(column.list.len() > 0).explode()
    else:
        times = read_lists(table, name, of_ids=False).cells
        elements = pl.Series([each for cell in times for each in cell], dtype=pl.String)
    for row, (cell, of_items) in enumerate(zip(times, cells, strict=True)):
        _refuse_other_length(table, row, cell, of_items, "times")
    frame = items.frame.with_columns(elements.alias(name))
    return Table(path=table.path, frame=frame, place_of=items.place_of).times(name)


def _events(table: Table, name: str, cells: list[list[str | None]], items: Table) -> pl.Series:
    """Type of event of each item: that of its row, or its own type if the cells are lists."""
    column = table.column(name)
    of_rows = column.dtype == pl.String and not are_bracketed_lists(column)
    types = read_lists(table, name, of_ids=False).cells
    fits = [len(cell) == len(of_items) for cell, of_items in zip(types, cells, strict=True)]
    several = [row for row, cell in enumerate(types) if len(cell) > 1]
    # Without brackets, `add to cart` may be one type or three types: the number of items tells.
    if of_rows and not any(fits[row] for row in several):
        return table.texts(name).gather(items.frame["row"])
    for row, (cell, of_items) in enumerate(zip(types, cells, strict=True)):
        _refuse_other_length(table, row, cell, of_items, "types of events")
    return pl.Series([each for cell in types for each in cell], dtype=pl.String)


def _refuse_other_length(
    table: Table, row: int, cell: Sequence[object], of_items: Sequence[object], what: str
) -> None:
    """Raises a `ValueError` if a list is not as long as the list of items in its row."""
    if len(cell) != len(of_items):
        raise ValueError(
            f"{table.place(row)}: {len(of_items)} items but {len(cell)} {what}; a list of {what} "
            "must be as long as that of the items."
        )


def _exploded(table: Table, name: str, cells: list[list[str | None]]) -> Table:
    """Makes one row per element of a list. Each row keeps the place of its row of the table."""
    rows = [row for row, cell in enumerate(cells) for _ in cell]
    elements = [element for cell in cells for element in cell]
    return Table(
        path=table.path,
        frame=pl.DataFrame(
            {"row": pl.Series(rows, dtype=pl.UInt32), name: pl.Series(elements, dtype=pl.String)}
        ),
        place_of=lambda row: table.place_of(rows[row]),
    )
