"""Columns: tables in CSV, TSV, Parquet or JSON lines, each of whose values has a place.

Every column read here can say in which line of the file a value stands, so that a bad one can be
found. Counting lines is slow and done only for errors.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv

from sidestep.data.frames import read_parquet
from sidestep.data.importers.item_texts import as_text
from sidestep.data.importers.sources import listed, parse_json, read_text

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
_LONGEST_ROW = 1 << 24
"""Bytes of a row in CSV; pyarrow gives up on a longer one."""
_TEMPORAL = (pl.Date, pl.Datetime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as its file has it, not yet interpreted.

    place_of: where row i of `frame` stands in the file, such as "line 12".
    """

    path: Path
    frame: pl.DataFrame
    place_of: Callable[[int], str]

    def place(self, row: int) -> str:
        """The file and the place in it, for errors."""
        return f"{self.path}, {self.place_of(row)}"

    def column(self, name: str) -> pl.Series:
        """A column as it was read.

        Raises:
            ValueError: if there is none; lists those there are.
        """
        if name not in self.frame.columns:
            raise ValueError(
                f"{self.path}: there is no column {name!r:.60}; there are "
                f"{listed(self.frame.columns)}."
            )
        return self.frame[name]

    def ids(self, name: str) -> pl.Series:
        """A column of text or whole numbers as text, nowhere missing."""
        column = self.column(name)
        if isinstance(column.dtype, pl.Categorical | pl.Enum) or column.dtype.is_integer():
            column = column.cast(pl.String)
        if column.dtype != pl.String:
            raise ValueError(
                f"{self.path}: column {name!r:.60} is {column.dtype}; IDs must be text or whole "
                "numbers, convert it first."
            )
        self._refuse(name, column, column.is_null() | (column == ""), "is missing; drop the row")
        return column

    def times(self, name: str) -> pl.Series:
        """A column of times as Int64, nowhere missing.

        Whole numbers stay as they are, whatever their unit; dates and times become milliseconds
        since 1970, in UTC where they name no zone. The first value says which of the two it is.
        """
        column = self.column(name)
        if column.dtype == pl.String:
            self._refuse(name, column, column.is_null() | (column == ""), "is missing")
            return self._times_from_text(name, column)
        self._refuse(name, column, column.is_null(), "is missing; drop the row, or the column")
        if isinstance(column.dtype, _TEMPORAL):
            return column.dt.epoch("ms")
        if not column.dtype.is_numeric():
            raise ValueError(
                f"{self.path}: column {name!r:.60} is {column.dtype}, which is no time."
            )
        return self._whole(name, column)

    def moments(self, name: str) -> pl.Series:
        """A column of times as Int64, or as Float64 if some have decimals; null where missing."""
        column = self.column(name)
        if column.dtype == pl.String:
            whole = _null_if_empty(column).cast(pl.Int64, strict=False)
            if whole.null_count() == _null_if_empty(column).null_count():
                return whole
        return self.numbers(name)

    def numbers(self, name: str) -> pl.Series:
        """A column of finite numbers as Float64, null where missing."""
        column = self.column(name)
        if column.dtype == pl.String:
            column = _null_if_empty(column)
        elif not (column.dtype.is_numeric() or column.dtype == pl.Null):
            raise ValueError(f"{self.path}: column {name!r:.60} is {column.dtype}, not numbers.")
        numbers = column.cast(pl.Float64, strict=False)
        is_wrong = column.is_not_null() & ~numbers.is_finite().fill_null(False)
        self._refuse(name, column, is_wrong, "is not a number; leave it empty or correct it")
        return numbers

    def texts(self, name: str) -> pl.Series:
        """A column of any simple kind as text, null where missing or empty."""
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

    def _times_from_text(self, name: str, column: pl.Series) -> pl.Series:
        whole = column.cast(pl.Int64, strict=False)
        if not whole.has_nulls():
            return whole
        if len(whole) and whole[0] is not None:
            remedy = f"is not a whole number, while the first one, {column[0]!r:.60}, is"
            self._refuse(name, column, whole.is_null(), remedy)
        numbers = column.cast(pl.Float64, strict=False)
        if numbers[0] is not None:
            return self._whole(name, numbers, column)
        moments = {text: _milliseconds(text) for text in column.unique()}
        times = pl.Series([moments[text] for text in column], dtype=pl.Int64)
        remedy = "is neither a whole number nor a date as in 2024-02-29 or 2024-02-29T12:00:00"
        self._refuse(name, column, times.is_null(), remedy)
        return times

    def _whole(self, name: str, numbers: pl.Series, shown: pl.Series | None = None) -> pl.Series:
        whole = numbers.cast(pl.Int64, strict=False)
        is_wrong = (whole.cast(numbers.dtype, strict=False) != numbers).fill_null(True)
        remedy = "is not a whole number of 64 bits; use a finer unit, seconds instead of days"
        self._refuse(name, numbers if shown is None else shown, is_wrong, remedy)
        return whole

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
    """Reads a table by the kind its suffix says; CSV and TSV are UTF-8 with a header.

    Args:
        path: a .csv, .tsv, .parquet, .jsonl or .ndjson file.
        columns: the ones needed; None reads all.
        lists: those whose lists in JSON lines stay JSON, where others become one readable text.

    Raises:
        ValueError: if the file is damaged, empty or lacks a column, with the line where possible.
    """
    suffix = path.suffix.lower()
    if suffix in SEPARATORS:
        table = _read_csv(path, SEPARATORS[suffix], columns)
    elif suffix in JSON_LINES:
        table = _read_json_lines(path, columns, lists)
    elif suffix == ".parquet":
        table = Table(path=path, frame=read_parquet(path), place_of=lambda row: f"row {row + 1}")
    else:
        raise unknown_suffix(path)
    for name in columns or ():
        table.column(name)
    if not table.frame.height:
        raise ValueError(f"{path}: there are no rows in it; get it again from its source.")
    return table if columns is None else _only(table, columns)


def unknown_suffix(path: Path) -> ValueError:
    """The error of a table whose suffix says of no known kind of file."""
    known = ", ".join([*SEPARATORS, *JSON_LINES, ".parquet"])
    return ValueError(f"{path}: the suffix says no known kind of table; known are {known}.")


def _only(table: Table, columns: Sequence[str]) -> Table:
    frame = table.frame.select(list(dict.fromkeys(columns)))
    return Table(path=table.path, frame=frame, place_of=table.place_of)


def _null_if_empty(column: pl.Series) -> pl.Series:
    return column.set(column == "", None)


def _milliseconds(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _read_csv(path: Path, separator: str, columns: Sequence[str] | None) -> Table:
    header = _csv_header(path, separator)
    needed = header if columns is None else [name for name in header if name in columns]
    missing = [name for name in columns or () if name not in header]
    if missing:
        raise ValueError(
            f"{path}: there is no column {missing[0]!r:.60}; there are {listed(header)}."
        )
    try:
        _refuse_open_quote(path, separator)
        arrow = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=_LONGEST_ROW),
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                include_columns=needed,
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _explained(path, separator, len(header), error) from error
    frame = pl.from_arrow(arrow)
    assert isinstance(frame, pl.DataFrame)
    return Table(path=path, frame=frame, place_of=lambda row: _csv_place(path, separator, row))


def _csv_header(path: Path, separator: str) -> list[str]:
    try:
        header = next((fields for _, fields in _csv_records(path, separator)), None)
    except UnicodeDecodeError:
        header = None
    except csv.Error as error:
        raise ValueError(
            f"{path}, line 1: no readable header ({error}); the first line must name the columns."
        ) from error
    if header is None:
        read_text(path)  # says whether it is empty or of another encoding, and in which line
        raise ValueError(f"{path}: there is no header; the first line must name the columns.")
    for name in header:
        if not name or header.count(name) > 1:
            what = (
                f"names the column {name!r:.50} twice" if name else "leaves a column without a name"
            )
            raise ValueError(f"{path}, line 1: the header {what}; rename it.")
    return header


def _csv_records(
    path: Path, separator: str, *, strict: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, the header included, with the lines they start in."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=strict)
        line = 1
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1


def _csv_place(path: Path, separator: str, row: int) -> str:
    try:
        for index, (line, _) in enumerate(_csv_records(path, separator), start=-1):
            if index == row:
                return f"line {line}"
    except (csv.Error, UnicodeDecodeError):
        pass  # the two parsers may disagree on odd quoting
    return f"row {row + 1}"


def _refuse_open_quote(path: Path, separator: str) -> None:
    """Refuses a file that ends within a quoted text, which pyarrow takes in silence."""
    with path.open("rb") as file:
        num_quotes = sum(block.count(b'"') for block in iter(lambda: file.read(1 << 20), b""))
    if num_quotes % 2 == 0:
        return
    line = 1
    try:
        for start, _ in _csv_records(path, separator, strict=True):
            line = start
    except csv.Error as error:
        raise ValueError(
            f"{path}, after line {line}: a quoted text does not end properly ({error}); the file "
            "may be cut off, or a quote within the text is not doubled."
        ) from error
    except UnicodeDecodeError:
        read_text(path)


def _explained(path: Path, separator: str, num_columns: int, error: Exception) -> ValueError:
    """The error of `path` with the line in which it stands."""
    try:
        read_text(path)
        for line, fields in _csv_records(path, separator):
            if len(fields) != num_columns:
                return ValueError(
                    f"{path}, line {line}: {len(fields)} fields, the header has {num_columns}; "
                    "the line may be cut off, or a field needs quotes."
                )
    except csv.Error as csv_error:
        return ValueError(f"{path}: not a readable table ({csv_error}).")
    except ValueError as text_error:
        return text_error
    return ValueError(f"{path}: not a readable table ({error}).")


def _read_json_lines(path: Path, columns: Sequence[str] | None, lists: Sequence[str]) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        row = parse_json(text, path, first_line=line)
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {line}: must hold one JSON object, got {row!r:.50}.")
        for name in lists:
            if isinstance(row.get(name), list):
                row[name] = json.dumps(row[name])
        rows.append(row)
        lines.append(line)
    names = list(dict.fromkeys(name for row in rows for name in row))
    needed = names if columns is None else [name for name in names if name in columns]
    frame = pl.DataFrame([_json_column(path, name, rows, lines) for name in needed])
    if columns is not None:
        missing = [name for name in columns if name not in names]
        if missing:
            raise ValueError(
                f"{path}: there is no column {missing[0]!r:.60}; there are {listed(names)}."
            )
    return Table(path=path, frame=frame, place_of=lambda row: f"line {lines[row]}")


def _json_column(path: Path, name: str, rows: list[dict[str, Any]], lines: list[int]) -> pl.Series:
    """The values of one key; all of one type, but that whole numbers may stand among decimals."""
    values = [row.get(name) for row in rows]
    kinds = [type(value) for value in values]
    known = set(kinds) - {type(None)}
    if known == {int, float}:
        values = [None if value is None else float(value) for value in values]
    elif len(known) > 1:
        first = next(kind for kind in kinds if kind is not type(None))
        row = next(i for i, kind in enumerate(kinds) if kind not in (first, type(None)))
        raise ValueError(
            f"{path}, line {lines[row]}: {name:.60} {values[row]!r:.50} is a "
            f"{kinds[row].__name__}, "
            f"while the lines before have a {first.__name__}; a column must have one type."
        )
    if known <= {list, dict}:
        for row, value in enumerate(values):
            try:
                values[row] = as_text(value)
            except TypeError as error:
                raise ValueError(f"{path}, line {lines[row]}: {name:.60} {error}.") from error
    try:
        return pl.Series(name, values, strict=True)
    except (OverflowError, TypeError, pl.exceptions.PolarsError) as error:
        raise ValueError(
            f"{path}: the values of {name:.60} do not fit a column ({error})."
        ) from error
