"""JSON as a table: one object per line, or one array of objects. Keys are columns."""

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sidestep.data.importers.cells import Cells
from sidestep.data.importers.item_texts import as_text
from sidestep.data.importers.lines import read_blocks
from sidestep.data.importers.sources import listed, not_utf8, parse_json, read_text

_ROWS_OF_A_KEY = 100
"""Least number of rows with each key in a look at a file, if the file has so many."""


def read_json(path: Path, columns: Sequence[str] | None, lists: Sequence[str]) -> Cells:
    """Reads a file whose rows are objects. Every column must have one type.

    A column may mix whole numbers and decimals. Then all its numbers become texts, because floating
    point would change the last digits of large numbers.

    Args:
        path: one object per line, or in a .json file one array of objects; plain or gzipped.
        columns: the columns to read; None reads all.
        lists: columns whose lists stay JSON. In other columns a list becomes one readable text.

    Raises:
        ValueError: if the file is damaged or empty, lacks a column, or mixes types in a column; the
            message names the line.
    """
    found: dict[str, _Column] = {}
    names: dict[str, None] = {}
    lines, label = array("q"), "line"
    for rows in _blocks(path):
        label = rows.label
        for row in rows.values:
            names.update(dict.fromkeys(row))
        for name in names:
            if name not in found and (columns is None or name in columns):
                found[name] = _Column(path, name, keeps_lists=name in lists)
                found[name].parts.append(pl.repeat(None, len(lines), dtype=pl.Null, eager=True))
        for column in found.values():
            column.append(rows)
        lines.extend(rows.lines)
    missing = [name for name in columns or () if name not in names]
    if missing:
        raise ValueError(
            f"{path}: there is no column {missing[0]!r:.60}; there are {listed(names)}."
        )
    frame = pl.DataFrame([found[name].joined() for name in names if name in found])
    return Cells(frame=frame, place_of=lambda row: f"{label} {lines[row]}")


def look_at_json(path: Path, num_rows: int) -> pl.DataFrame:
    """Reads the first rows of a file and, for each further key, some of the first rows with it.

    Every value becomes a text; lists and objects become JSON.
    """
    num_seen: dict[str, int] = {}
    seen: list[dict[str, Any]] = []
    for rows in _blocks(path):
        for row in rows.values:
            is_rare = any(num_seen.get(name, 0) < _ROWS_OF_A_KEY for name in row)
            if len(seen) >= num_rows and not is_rare:
                continue
            seen.append(row)
            for name, value in row.items():
                num_seen[name] = num_seen.get(name, 0) + (value is not None)
    return pl.DataFrame(
        {
            name: pl.Series([_as_shown(row.get(name)) for row in seen], dtype=pl.String)
            for name in num_seen
        }
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some consecutive objects of a file.

    lines: number of the line, or of the entry of an array, of each object.
    label: "line" or "entry".
    """

    path: Path
    lines: list[int]
    values: list[dict[str, Any]]
    label: str = "line"

    def place(self, row: int) -> str:
        """Names the file and the place in it, for errors."""
        return f"{self.path}, {self.label} {self.lines[row]}"


@dataclass(frozen=True, slots=True)
class _Column:
    """One column, filled block by block.

    parts: one part per block: texts, whole numbers, decimals, truth values, or only nulls.
    kinds: types of the values so far.
    """

    path: Path
    name: str
    keeps_lists: bool
    parts: list[pl.Series] = field(default_factory=list)
    kinds: set[type] = field(default_factory=set)

    def append(self, rows: _Rows) -> None:
        """Adds the values of some rows.

        Raises:
            ValueError: a value has another type than the values before, or a type that no table
                has.
        """
        values = [row.get(self.name) for row in rows.values]
        if self.keeps_lists:
            values = [json.dumps(v) if isinstance(v, list) else v for v in values]
        if not {type(value) for value in values} - {type(None)} <= self.kinds:
            for row, value in enumerate(values):
                self._admit(rows, row, value)
        if self.kinds & {list, dict}:
            for row, value in enumerate(values):
                try:
                    values[row] = as_text(value)
                except TypeError as error:
                    raise ValueError(f"{rows.place(row)}: {self.name:.60} {error}.") from error
        self.parts.append(_series(values))

    def joined(self) -> pl.Series:
        """The whole column, in one type."""
        dtypes = {part.dtype for part in self.parts} - {pl.Null}
        if len(dtypes) > 1:
            return pl.concat([_as_texts(part) for part in self.parts]).alias(self.name)
        dtype = dtypes.pop() if dtypes else pl.Null()
        return pl.concat([part.cast(dtype) for part in self.parts]).alias(self.name)

    def _admit(self, rows: _Rows, row: int, value: Any) -> None:
        kind = type(value)
        if value is None or kind in self.kinds:
            return
        for alike in ({int, float}, {list, dict}, {kind}):
            if kind in alike:
                for other in self.kinds - alike:
                    raise ValueError(
                        f"{rows.place(row)}: {self.name:.60} {value!r:.50} is a {kind.__name__}, "
                        f"while the lines before have a {other.__name__}; a column must have one "
                        "type."
                    )
                break
        self.kinds.add(kind)


def _series(values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    is_large = kinds == {int} and any(v is not None and not -(2**63) <= v < 2**63 for v in values)
    if kinds == {int, float} or is_large:
        return pl.Series([None if v is None else repr(v) for v in values], dtype=pl.String)
    dtype = {str: pl.String(), int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean()}
    return pl.Series(values, dtype=dtype[kinds.pop()] if kinds else pl.Null())


def _as_texts(part: pl.Series) -> pl.Series:
    if part.dtype == pl.Float64:
        return pl.Series([None if v is None else repr(v) for v in part], dtype=pl.String)
    return part.cast(pl.String)


def _as_shown(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _blocks(path: Path) -> Iterator[_Rows]:
    """Yields the objects of a file, in blocks of some megabytes.

    Raises:
        ValueError: if a row is no object, or the file is damaged or empty.
    """
    if ".json" in path.suffixes:
        text = read_text(path)
        if text.lstrip().startswith("["):
            yield _array(path, text)
            return
    for block in read_blocks(path):
        lines: list[int] = []
        values: list[dict[str, Any]] = []
        for line, data in block.lines():
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise not_utf8(block.place(line), error.reason) from None
            value = parse_json(text, path, first_line=line)
            if not isinstance(value, dict):
                raise ValueError(
                    f"{block.place(line)}: must hold one JSON object, got {value!r:.50}."
                )
            lines.append(line)
            values.append(value)
        yield _Rows(path, lines, values)


def _array(path: Path, text: str) -> _Rows:
    """Reads the objects of one array."""
    values = parse_json(text, path, first_line=1)
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise ValueError(f"{path}, entry {number}: must be a JSON object, got {value!r:.50}.")
    return _Rows(path, list(range(1, len(values) + 1)), values, label="entry")
