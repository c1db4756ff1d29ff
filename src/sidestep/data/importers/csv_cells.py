"""CSV and TSV: the cells of a file with a header, as texts.

pyarrow reads the cells. Python's csv module can count lines; it reads the header and, after an
error, finds the place of a row.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from io import BufferedIOBase, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl
import pyarrow as pa
import pyarrow.csv

from sidestep.data.importers.cells import Cells
from sidestep.data.importers.sources import DAMAGES, damaged_gzip, listed, read_text, unpacked

LONGEST_ROW = 1 << 24
"""Largest number of bytes of a row; pyarrow fails on a longer row."""

_SEPARATORS = ",;\t|"
_ROWS_TO_COMPARE = 20
_SEPARATOR_LINE = re.compile(r"sep=.?\r?\n?")
"""Line that Excel writes before the header to name the separator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """The form of a file.

    header: names of the columns, "" for a column without a name.
    has_blanks: whether a blank follows each separator. Such a blank belongs to no text.
    """

    path: Path
    separator: str
    header: list[str]
    has_blanks: bool


def read_csv(
    path: Path, separator: str, columns: Sequence[str] | None, *, num_rows: int | None = None
) -> Cells:
    """Reads a file with a header. Blank lines are skipped.

    The header shows if the file has another separator than the usual one of its kind, for example a
    semicolon. The first column may have no name, as a column of row numbers. A column without any
    text may have no name either. Columns without a name are not read.

    Args:
        path: the file, plain or gzipped.
        separator: usual separator of this kind of file.
        columns: the columns to read; None reads all.
        num_rows: number of rows to read from the start; None reads all.

    Raises:
        ValueError: if the file is damaged, empty or lacks a column; the message names the line if
            possible.
    """
    form = _form(path, separator)
    names = [name for name in form.header if name]
    missing = [name for name in columns or () if name not in names]
    if missing:
        num_unnamed = len(form.header) - len(names)
        more = f" and {num_unnamed} without a name" if num_unnamed else ""
        raise ValueError(
            f"{path}: there is no column {missing[0]!r:.60}; there are {listed(names)}{more}."
        )
    # Until the end, columns are named by their places, because several may have no name.
    needed = {
        str(place): name
        for place, name in enumerate(form.header)
        if (name in columns if columns is not None and name else name or place)
    }
    frame = _frame(form, list(needed), num_rows)
    for place in [place for place, name in needed.items() if not name]:
        if (frame[place] != "").any():
            raise ValueError(
                f"{path}, line 1: the header leaves column {int(place) + 1} without a name; "
                "name it."
            )
        frame = frame.drop(place)
    frame = frame.rename({place: name for place, name in needed.items() if name})
    if form.has_blanks:
        frame = frame.select(pl.all().str.strip_chars_start(" ").str.replace('^"(.*)"$', "$1"))
    return Cells(frame=frame, place_of=lambda row: _place(form, row))


def _frame(
    form: _Form, needed: list[str], num_rows: int | None, *, skips_blank: bool = False
) -> pl.DataFrame:
    """Reads some columns, by their places.

    Args:
        form: form of the file.
        needed: places of the columns to read.
        num_rows: number of rows to read from the start; None reads all.
        skips_blank: whether lines of blanks are skipped. pyarrow skips empty lines by itself. If it
            also skips lines of blanks, it fails on rows that are not UTF-8.
    """
    places = [str(place) for place in range(len(form.header))]
    num_quotes, num_lines = _num_quotes_and_lines(form.path)
    if num_quotes % 2:
        _refuse_open_quote(form)
    batches: list[pa.RecordBatch] = []
    num_read = 0
    try:
        with _source(form.path) as file:
            options = pyarrow.csv.ReadOptions(
                block_size=LONGEST_ROW,
                column_names=places,
                skip_rows=int(_has_separator_line(form.path)),
            )
            with pyarrow.csv.open_csv(
                file,
                read_options=options,
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=form.separator,
                    newlines_in_values=True,
                    invalid_row_handler=_skip_if_blank if skips_blank else None,
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(places, pa.string()),
                    include_columns=needed,
                    strings_can_be_null=False,
                ),
            ) as reader:
                for batch in reader:
                    batches.append(batch)
                    num_read += batch.num_rows
                    if num_rows is not None and num_read > num_rows:
                        break
                schema = reader.schema
            frame = pl.from_arrow(pa.Table.from_batches(batches, schema))
    except pa.ArrowInvalid as error:
        explained = _explained(form)
        if explained is None and not skips_blank:
            return _frame(form, needed, num_rows, skips_blank=True)
        raise (explained or ValueError(f"{form.path}: not a readable table ({error}).")) from error
    assert isinstance(frame, pl.DataFrame)
    if num_rows is None and num_quotes and num_lines > frame.height:
        _refuse_swallowed(form)
    return frame.slice(1, num_rows)  # without the header, which pyarrow reads as a row here


def _skip_if_blank(row: Any) -> str:
    """Tells pyarrow what to do with a row that has another number of fields."""
    return "error" if row.text.strip() else "skip"


@contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    try:
        with path.open("rb") as raw:
            yield unpacked(path, raw)
    except DAMAGES as error:
        raise damaged_gzip(f"{path}", error) from error


@contextmanager
def _source(path: Path) -> Iterator[pa.NativeFile]:
    """Opens a file for pyarrow, whose threads may go on reading after a refusal.

    If one of these threads read a Python file object while Python shuts down, the whole process
    would abort.
    """
    with _opened(path) as file:
        if isinstance(file, GzipFile):
            yield pa.BufferReader(file.read())
        else:
            yield pa.OSFile(str(path))


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    """Yields the lines with their ends. Bytes that are not UTF-8 become half characters."""
    with _opened(path) as file:
        text = TextIOWrapper(
            cast(BinaryIO, file), encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        yield text
        text.detach()


def _has_separator_line(path: Path) -> bool:
    with _lines(path) as lines:
        return _SEPARATOR_LINE.fullmatch(next(lines, "")) is not None


def _records(
    path: Path, separator: str, *, strict: bool = False
) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yields the records that are not blank, with the header.

    Yields:
        The line in which a record starts, its fields, and its lines.
    """
    taken: list[str] = []

    def watched(lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    # The csv module has only one limit for the whole process.
    csv.field_size_limit(LONGEST_ROW)
    with _lines(path) as lines:
        reader = csv.reader(watched(lines), delimiter=separator, strict=strict)
        line = 1
        for fields in reader:
            is_mark = line == 1 and _SEPARATOR_LINE.fullmatch("".join(taken))
            if not is_mark and (len(fields) > 1 or "".join(fields).strip()):
                yield line, fields, taken.copy()
            line = reader.line_num + 1
            taken.clear()


def _form(path: Path, separator: str) -> _Form:
    """Reads the header.

    Raises:
        ValueError: there is no header, or it does not tell the columns apart.
    """
    firsts: dict[str, list[list[str]]] = {}
    for candidate in dict.fromkeys([separator, *_SEPARATORS]):
        firsts[candidate] = []
        try:
            for _, fields, _ in islice(_records(path, candidate), _ROWS_TO_COMPARE):
                firsts[candidate].append(fields)
        except csv.Error as error:
            if candidate == separator and not firsts[candidate]:
                raise ValueError(
                    f"{path}, line 1: no readable header ({error}); the first line must name the "
                    "columns."
                ) from error
    if not firsts[separator]:
        read_text(path)  # raises the error of an empty file
        raise ValueError(f"{path}: there is no header; the first line must name the columns.")
    chosen = _separator(separator, firsts)
    names = firsts[chosen][0]
    if any("\udc80" <= character <= "\udcff" for character in "".join(names)):
        read_text(path)  # raises the error of another encoding, with the line
    header = [name.strip() for name in names]
    for name in header:
        if name and header.count(name) > 1:
            raise ValueError(
                f"{path}, line 1: the header names the column {name!r:.50} twice; rename it."
            )
    has_blanks = len(names) > 1 and all(name.startswith(" ") for name in names[1:])
    return _Form(path=path, separator=chosen, header=header, has_blanks=has_blanks)


def _separator(usual: str, firsts: dict[str, list[list[str]]]) -> str:
    """Finds the separator that gives the header and the first rows equally many fields.

    Args:
        usual: usual separator of this kind of file; it is taken if it fits.
        firsts: fields of the first records, by separator.
    """
    num_names = {separator: len(records[0]) for separator, records in firsts.items() if records}
    fitting = [
        separator
        for separator, number in num_names.items()
        if number > 1 and all(len(fields) == number for fields in firsts[separator])
    ]
    if usual in fitting or (num_names[usual] > 1 and not fitting):
        return usual
    candidates = fitting or list(num_names)
    return max(candidates, key=lambda separator: (num_names[separator], separator == usual))


def _place(form: _Form, row: int) -> str:
    try:
        for index, (line, _, _) in enumerate(_records(form.path, form.separator), start=-1):
            if index == row:
                return f"line {line}"
    except csv.Error:
        pass  # the two parsers may disagree on odd quoting
    return f"row {row + 1}"


def _num_quotes_and_lines(path: Path) -> tuple[int, int]:
    num_quotes = num_lines = num_carriage_returns = 0
    with _opened(path) as file:
        while block := file.read(1 << 20):
            num_quotes += block.count(b'"')
            num_lines += block.count(b"\n")
            num_carriage_returns += block.count(b"\r")
    return num_quotes, num_lines or num_carriage_returns


def _refuse_open_quote(form: _Form) -> None:
    """Refuses a file that ends within a quoted text. pyarrow reads such a file without an error."""
    line = 1
    try:
        for start, _, _ in _records(form.path, form.separator, strict=True):
            line = start
    except csv.Error as error:
        raise ValueError(
            f"{form.path}, after line {line}: a quoted text does not end properly ({error}); the "
            "file may be cut off, or a quote within the text is not doubled."
        ) from error


def _refuse_swallowed(form: _Form) -> None:
    """Refuses a file in which two stray quotes make one text of all rows between them.

    A text of several lines is legal. But it is taken for several rows if something follows its
    closing quote, or if each of its lines has as many separators as a whole row of three or more
    columns.
    """
    num_between = len(form.header) - 1
    line = 1
    try:
        for start, _, lines in _records(form.path, form.separator, strict=True):
            line = start
            if len(lines) > 1 and num_between > 1:
                fewest = min(text.count(form.separator) for text in lines)
                if fewest >= num_between:
                    raise ValueError(
                        f"{form.path}, line {line}: a quoted text seems to hold "
                        f"{len(lines) - 1} more rows; a quote may stand alone in this line and in "
                        f"line {line + len(lines) - 1}. Double the quotes within texts."
                    )
    except csv.Error as error:
        raise ValueError(
            f"{form.path}, after line {line}: a quoted text does not end properly ({error}); a "
            "quote within the text may not be doubled."
        ) from error


def _explained(form: _Form) -> ValueError | None:
    """The error of a file, with its line; None if only lines of blanks were wrong."""
    num_columns = len(form.header)
    try:
        read_text(form.path)
        for line, fields, _ in _records(form.path, form.separator):
            if len(fields) != num_columns:
                return ValueError(
                    f"{form.path}, line {line}: {len(fields)} fields, the header has "
                    f"{num_columns}; the line may be cut off, or a field needs quotes."
                )
    except csv.Error as csv_error:
        return ValueError(f"{form.path}: not a readable table ({csv_error}).")
    except ValueError as text_error:
        return text_error
    return None
