"""Columns: tables in CSV, TSV, Parquet or JSON, in which every value has a place.

Looking at a table and importing it use the same reader. Every column that is read here can tell the
line of a value in the file, so that users find an invalid value. Counting lines is slow, so lines
are counted only for errors.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sidestep.data.frames import read_parquet
from sidestep.data.importers.cells import Cells, joined_cells
from sidestep.data.importers.csv_cells import read_csv
from sidestep.data.importers.ids import are_floats, are_rounded, as_whole_numbers
from sidestep.data.importers.json_cells import look_at_json, read_json
from sidestep.data.importers.sources import folder_of, listed, parts_of
from sidestep.data.importers.times import (
    Times,
    UnreadableTimesError,
    times_from_dates,
    times_from_floats,
    times_from_texts,
    two_units,
)

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON = (".jsonl", ".ndjson", ".json")
_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The content of a table's file, not yet interpreted.

    place_of: gives the place of row i of `frame` in the file, such as "line 12".
    """

    path: Path
    frame: pl.DataFrame
    place_of: Callable[[int], str]

    def place(self, row: int) -> str:
        """Names the file and the place in it, for errors."""
        return f"{self.path}, {self.place_of(row)}"

    def column(self, name: str) -> pl.Series:
        """A column as it was read.

        Raises:
            ValueError: if there is no such column; the message lists the columns.
        """
        if name not in self.frame.columns:
            raise ValueError(
                f"{self.path}: there is no column {name!r:.60}; there are "
                f"{listed(self.frame.columns)}."
            )
        return self.frame[name]

    def ids(
        self, name: str, *, may_lack: bool = False, missing_words: Sequence[str] = ()
    ) -> pl.Series:
        """Reads a column of IDs as text. Whole numbers that are written as 41.0 become 41.

        Args:
            name: name of the column.
            may_lack: whether IDs may be missing. If True, a missing ID and a text of blanks become
                null; if False, they are refused.
            missing_words: texts that mean a missing ID, besides the empty text.
        """
        column = self.column(name)
        ids = self._id_texts(name, column)
        ids = ids.set((ids.str.strip_chars() if may_lack else ids) == "", None)
        if missing_words:
            ids = ids.set(ids.is_in(list(missing_words)).fill_null(False), None)
        self._refuse(
            name,
            ids,
            are_rounded(ids),
            "is a number without its last digits, as spreadsheets write long ones; export the "
            "column as text",
        )
        if not may_lack:
            self._refuse(name, column, ids.is_null(), "is missing; drop the row")
        return as_whole_numbers(ids) if are_floats(ids) else ids

    def times(self, name: str) -> pl.Series:
        """Reads a column of times as Int64, none of them missing, in one unit; see `moments`."""
        times = self.moments(name)
        missing = times.counts.is_null()
        self._refuse(name, self.column(name), missing, "is missing; drop the row, or the column")
        if found := two_units(times):
            is_rare, why = found
            self._refuse(name, self.column(name), is_rare, why)
        return times.counts

    def moments(self, name: str) -> Times:
        """Reads a column of times, null if missing: numbers of any unit, or dates.

        A date without a zone is taken as UTC. See `Times` for the unit.
        """
        column = self.column(name)
        if isinstance(column.dtype, pl.Categorical | pl.Enum | pl.Decimal):
            column = column.cast(pl.String)
        try:
            if column.dtype == pl.String:
                return times_from_texts(_null_if_empty(column.str.strip_chars()))
            if isinstance(column.dtype, pl.Date | pl.Datetime):
                return times_from_dates(column)
            if column.dtype.is_float():
                return times_from_floats(column.fill_nan(None))
        except UnreadableTimesError as error:
            self._refuse(name, column, error.is_wrong, error.why)
        if not (column.dtype.is_integer() or column.dtype == pl.Null):
            raise ValueError(
                f"{self.path}: column {name!r:.60} is {column.dtype}, which is no time."
            )
        whole = column.cast(pl.Int64, strict=False)
        is_wrong = whole.is_null() & column.is_not_null()
        self._refuse(name, column, is_wrong, "does not fit into 64 bits; correct it")
        return Times(whole, 0, "numbers")

    def numbers(self, name: str, *, may_be_missing: bool = True) -> pl.Series:
        """Reads a column of finite numbers as Float64, null if missing.

        Args:
            name: of the column.
            may_be_missing: whether the error for a cell that is no number offers an empty cell.
        """
        column = self.column(name)
        if column.dtype == pl.String:
            column = _null_if_empty(column)
        elif not (column.dtype.is_numeric() or column.dtype == pl.Null):
            raise ValueError(f"{self.path}: column {name!r:.60} is {column.dtype}, not numbers.")
        numbers = column.cast(pl.Float64, strict=False)
        is_wrong = column.is_not_null() & ~numbers.is_finite().fill_null(False)
        remedy = "leave it empty or correct it" if may_be_missing else "correct it"
        self._refuse(name, column, is_wrong, f"is not a number; {remedy}")
        return numbers

    def texts(self, name: str) -> pl.Series:
        """Reads a column of any simple type as text, null if missing or empty."""
        column = self.column(name)
        dtype = column.dtype
        if isinstance(dtype, pl.List) and dtype.inner == pl.String:
            return _null_if_empty(column.list.join(", ", ignore_nulls=True))
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise ValueError(
                f"{self.path}: column {name!r:.60} is {dtype}, which is no text; name the "
                "columns to read, without this one."
            )
        return _null_if_empty(column.cast(pl.String))

    def kept(self, is_kept: pl.Series) -> "Table":
        """The rows for which a mask is True. The rows keep their places in the file."""
        rows = is_kept.arg_true()
        return Table(
            path=self.path,
            frame=self.frame.filter(is_kept),
            place_of=lambda row: self.place_of(rows[row]),
        )

    def _id_texts(self, name: str, column: pl.Series) -> pl.Series:
        dtype = column.dtype
        if dtype == pl.String:
            return column
        if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null) or dtype.is_integer():
            return column.cast(pl.String)
        if dtype.is_float() or isinstance(dtype, pl.Decimal):
            numbers = column.fill_nan(None) if dtype.is_float() else column
            whole = numbers.cast(pl.Int64, strict=False)
            # From 2 ** 53 on, one floating-point number stands for several whole numbers.
            is_exact = (whole.cast(dtype) == numbers) & (
                (numbers.abs() < 2**53) if dtype.is_float() else numbers.is_not_null()
            )
            if is_exact.fill_null(True).all():
                return whole.cast(pl.String)
            row = (~is_exact.fill_null(True)).arg_max()
            assert row is not None
            raise ValueError(
                f"{self.place(row)}: {name:.60} {numbers[row]!r:.60} is no ID; the column "
                f"{name!r:.60} is {dtype}; IDs must be text or whole numbers below 2 ** 53, "
                "convert it first."
            )
        try:
            if dtype == pl.Binary:
                return column.cast(pl.String)
        except pl.exceptions.PolarsError:
            pass  # bytes that are no text
        raise ValueError(
            f"{self.path}: column {name!r:.60} is {dtype}; IDs must be text or whole numbers, "
            "convert it first."
        )

    def _refuse(self, name: str, column: pl.Series, is_wrong: pl.Series, why: str) -> None:
        if is_wrong.any():
            row = is_wrong.arg_max()
            assert row is not None
            shown = "" if column[row] is None or column[row] == "" else f" {column[row]!r:.60}"
            num_more = int(is_wrong.sum()) - 1
            more = f" ({num_more} more rows like this)" if num_more else ""
            raise ValueError(f"{self.place(row)}: {name:.60}{shown} {why}.{more}")


def read_table(
    path: Path, columns: Sequence[str] | None = None, *, lists: Sequence[str] = ()
) -> Table:
    """Reads a table; the suffix gives the kind of file. CSV and TSV are UTF-8 with a header.

    Args:
        path: a .csv, .tsv, .parquet, .jsonl, .ndjson or .json file; or a folder of such files, the
            parts of one table; or a pattern of their names, such as log/*.parquet. All but .parquet
            may be gzipped, with .gz after the suffix.
        columns: the columns to read; None reads all.
        lists: columns whose lists in JSON stay JSON. In other columns a list becomes one readable
            text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: if a file is damaged, empty or lacks a column; the message names the line if
            possible.
    """
    parts = files_of(path)
    cells = [(part, _read(part, columns, lists)) for part in parts]
    folder = folder_of(path)
    whole = cells[0][1] if folder is None else joined_cells(folder, cells)
    table = Table(path=path, frame=_without_index(whole.frame, columns), place_of=whole.place_of)
    for name in columns or ():
        table.column(name)
    if not table.frame.height:
        raise no_rows(path)
    if columns is None:
        return table
    frame = table.frame.select(list(dict.fromkeys(columns)))
    return Table(path=path, frame=frame, place_of=table.place_of)


def look_at_table(path: Path, num_rows: int) -> pl.DataFrame:
    """Reads the first rows of a table with all of its columns, to see what the columns hold.

    In JSON, every row has keys of its own, so all rows are searched for keys; the values are read
    as texts. In a folder, parts are read until there are enough rows.

    Args:
        path: see `read_table`.
        num_rows: number of rows that are enough.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: if a file is damaged or empty; the message names the line if possible.
    """
    frames: list[pl.DataFrame] = []
    for part in files_of(path):
        kind = kind_of(part)
        left = max(0, num_rows - sum(frame.height for frame in frames))
        if kind in JSON:
            frames.append(look_at_json(part, left))
        elif left and kind in SEPARATORS:
            frames.append(read_csv(part, SEPARATORS[kind], None, num_rows=left).frame)
        elif left:
            frames.append(read_parquet(part, num_rows=left))
    frame = _without_index(pl.concat(frames, how="diagonal_relaxed"), None)
    if not frame.height:
        raise no_rows(path)
    return frame


def kind_of(path: Path) -> str:
    """Suffix of a file that tells its kind of table.

    Raises:
        ValueError: the suffix is of no known kind.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = suffixes[-1] if suffixes else ""
    if suffix == ".gz" and len(suffixes) > 1 and suffixes[-2] in {*SEPARATORS, *JSON}:
        return suffixes[-2]
    if suffix not in {*SEPARATORS, *JSON, ".parquet"}:
        known = ", ".join([*SEPARATORS, *JSON, ".parquet"])
        raise ValueError(
            f"{path}: the suffix says no known kind of table; known are {known}, and all but the "
            "last with .gz behind."
        )
    return suffix


def no_rows(path: Path) -> ValueError:
    """Error for a table with columns but without rows."""
    return ValueError(f"{path}: there are no rows in it; get it again from its source.")


def files_of(path: Path) -> list[Path]:
    """Files of a table. In a folder, these are the files that are not empty, all of one kind."""
    parts = parts_of(path)
    if folder_of(path) is None:
        return parts
    filled = [part for part in parts if part.stat().st_size]
    if not filled:
        raise no_rows(path)
    for part in filled:
        if kind_of(part) != kind_of(filled[0]):
            raise ValueError(
                f"{path}: {filled[0].name} and {part.name} are of different kinds; a folder must "
                "hold the parts of one table and nothing else."
            )
    return filled


def _read(part: Path, columns: Sequence[str] | None, lists: Sequence[str]) -> Cells:
    kind = kind_of(part)
    if kind in SEPARATORS:
        return read_csv(part, SEPARATORS[kind], columns)
    if kind in JSON:
        return read_json(part, columns, lists)
    cells = _parquet_cells(read_parquet(part, columns))
    for name in columns or ():
        if name not in cells.frame.columns:
            names = read_parquet(part, num_rows=0).columns
            raise ValueError(f"{part}: there is no column {name!r:.60}; there are {listed(names)}.")
    return cells


def _parquet_cells(frame: pl.DataFrame) -> Cells:
    return Cells(frame=frame, place_of=lambda row: f"row {row + 1}")


def _without_index(frame: pl.DataFrame, columns: Sequence[str] | None) -> pl.DataFrame:
    """Removes the row numbers that pandas writes into Parquet."""
    numbers = [n for n in frame.columns if _INDEX.fullmatch(n) and n not in (columns or ())]
    return frame.drop(numbers)


def _null_if_empty(column: pl.Series) -> pl.Series:
    return column.set(column == "", None)
