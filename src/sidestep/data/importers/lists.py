"""Lists: tables with a list of items in a cell, one row per user or per session."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from sidestep.data.importers.columns import Table, read_table
from sidestep.data.importers.imported import Imported, imported
from sidestep.data.importers.log import GrowingLog, Thinning
from sidestep.data.importers.python_lists import python_list
from sidestep.data.importers.table import read_items


def import_lists(
    path: Path,
    *,
    user: str = "user_id",
    items_column: str = "item_ids",
    time: str | None = None,
    items_path: Path | None = None,
    items_item: str = "item_id",
    thinning: Thinning = Thinning(),  # noqa: B008 - frozen
    name: str | None = None,
) -> Imported:
    """Imports rows of a user and a list of items, oldest first.

    A list is one of Parquet or JSON, or a text: JSON as in `["a", "b"]`, Python as in
    `['a', 'b']`, or IDs with commas, semicolons, bars or blanks between them.

    Args:
        path: a .csv, .tsv, .parquet, .jsonl or .ndjson file.
        user: the column of users; one may have several rows.
        items_column: the column of lists. An empty list is passed over.
        time: the column of times: of a whole row, whose items then keep their order, or a list
            as long as that of the items. Without it the rows of a user are in order.
        items_path: a table of items; without it they have no texts.
        items_item: the column of item IDs in `items_path`.
        thinning: what is kept; there are no values.
        name: of the dataset; None takes the file's.

    Raises:
        ValueError: if a file is not what it should be, with the file and, where there is one, the
            line.
    """
    lists = [items_column] if time is None else [items_column, time]
    table = read_table(path, [user, *lists], lists=lists)
    cells = _cells(table, items_column)
    is_filled = pl.Series([bool(cell) for cell in cells], dtype=pl.Boolean)
    if not is_filled.any():
        raise ValueError(f"{path}: every list in {items_column!r} is empty; name another column.")
    rows = _exploded(table, items_column, cells)
    timestamps = None
    if time is not None:
        timestamps = _times(table, time, cells, rows)
    growing = GrowingLog(path)
    user_of_row = table.ids(user)
    growing.append(user_of_row.gather(rows.frame["row"]), rows.ids(items_column), timestamps)
    log = growing.log().thinned(thinning, str(path))
    texts = None if items_path is None else read_items(items_path, items_item, None).frame
    done = imported(log, texts, paths=(path, items_path), name=name or path.stem)
    num_empty = int((~is_filled).sum())
    remarks = [f"{num_empty} rows have an empty list and are passed over."] if num_empty else []
    return replace(done, remarks=(*done.remarks, *remarks))


def _times(table: Table, name: str, cells: list[list[str | None]], rows: Table) -> pl.Series:
    """A time per item: that of its row, or its own where the cells are lists."""
    if not table.column(name).dtype.is_nested() and not _is_lists(table.column(name)):
        return table.times(name).gather(rows.frame["row"])
    times = _cells(table, name)
    for row, (cell, of_items) in enumerate(zip(times, cells, strict=True)):
        if len(cell) != len(of_items):
            raise ValueError(
                f"{table.place(row)}: {len(of_items)} items but {len(cell)} times; a list of times "
                "must be as long as that of the items."
            )
    return _exploded(table, name, times).times(name)


def _is_lists(column: pl.Series) -> bool:
    """Whether texts are lists of times, not single ones: numbers or dates with blanks or commas."""
    if column.dtype != pl.String:
        return False
    texts = column.drop_nulls().str.strip_chars()
    return bool(
        (texts.str.contains(r"^[\[(]|[,;|]") | texts.str.contains(r"^-?[0-9.]+\s+-?[0-9.]+")).any()
    )


def _exploded(table: Table, name: str, cells: list[list[str | None]]) -> Table:
    """One row per element of a list, with the row of the table in which it stands."""
    rows = [row for row, cell in enumerate(cells) for _ in cell]
    elements = [element for cell in cells for element in cell]
    return Table(
        path=table.path,
        frame=pl.DataFrame(
            {"row": pl.Series(rows, dtype=pl.UInt32), name: pl.Series(elements, dtype=pl.String)}
        ),
        place_of=lambda row: table.place_of(rows[row]),
    )


def _cells(table: Table, name: str) -> list[list[str | None]]:
    """The elements of each list, as texts; none for an empty cell.

    Whole numbers and texts do not mix: 7 and "7" would become one item.
    """
    column = table.column(name)
    if column.dtype == pl.String:
        between = _separator(column)
        cells = [_elements(table, name, row, text, between) for row, text in enumerate(column)]
    elif isinstance(column.dtype, pl.List) and (
        column.dtype.inner == pl.String or column.dtype.inner.is_integer()
    ):
        cells = column.to_list()
    elif column.dtype.is_integer():  # lists of one number each
        cells = [[] if number is None else [number] for number in column]
    else:
        raise ValueError(
            f"{table.path}: column {name!r} is {column.dtype}; it must hold lists of texts or of "
            "whole numbers."
        )
    kind: type | None = None
    for row, cell in enumerate(cells):
        for element in cell or ():
            kind = kind or (None if element is None else type(element))
            if element is not None and (type(element) is not kind or kind not in (str, int)):
                raise ValueError(
                    f"{table.place(row)}: {name} holds {element!r:.50}, a "
                    f"{type(element).__name__}; all elements must be texts, or all whole numbers."
                )
    return [[None if e is None else str(e) for e in cell or ()] for cell in cells]


def _separator(column: pl.Series) -> str | None:
    """What stands between elements in cells without brackets; None for blanks."""
    plain = column.filter(~column.str.contains(r"^\s*[\[(]").fill_null(True))
    for separator in ",;|":
        if plain.str.contains(separator, literal=True).any():
            return separator
    return None


def _elements(
    table: Table, name: str, row: int, text: str | None, between: str | None
) -> list[Any]:
    text = (text or "").strip()
    if not text.startswith(("[", "(")):
        return [part.strip() for part in text.split(between)] if text else []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = python_list(text)
    if not isinstance(value, list):
        raise ValueError(
            f"{table.place(row)}: {name} {text!r:.50} is no list as JSON or Python write it; it "
            "may be cut off."
        )
    return value
