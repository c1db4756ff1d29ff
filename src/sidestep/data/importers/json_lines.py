"""JSON lines of dumps: millions of objects, one per line, some written as Python literals."""

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from sidestep.data.importers.lines import OnProgress, read_blocks
from sidestep.data.importers.sources import empty_file, not_utf8

_LITERAL = re.compile(rb"\s*\{\s*(?:u?'|\})")
"""Start of a line that Python wrote with repr() instead of JSON, as in the metadata of 2014."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of some consecutive lines.

    lines: number of the line of each object.
    """

    path: Path
    lines: list[int]
    values: list[dict[str, Any]]

    def place(self, row: int) -> str:
        """Names the file and the line of an object, for errors."""
        return f"{self.path}, line {self.lines[row]}"

    def texts(self, key: str) -> pl.Series:
        """Reads a column of texts, null if a value is absent, null or empty.

        Raises:
            ValueError: if a value is anything else.
        """
        found = [value.get(key) for value in self.values]
        try:
            column = pl.Series(found, dtype=pl.String, strict=True)
        except (TypeError, pl.exceptions.PolarsError):
            row = next(i for i, value in enumerate(found) if not isinstance(value, str | None))
            raise self._wrong(row, key, "a text") from None
        return column.set(column == "", None)

    def whole_numbers(self, key: str) -> pl.Series:
        """Reads a column of whole numbers as Int64, null if a value is absent or null.

        Raises:
            ValueError: if a value is anything else, or does not fit into 64 bits.
        """
        found = [value.get(key) for value in self.values]
        if not {type(value) for value in found} <= {int, type(None)}:
            for row, value in enumerate(found):
                if isinstance(value, float) and value.is_integer():
                    found[row] = int(value)
                elif type(value) not in (int, type(None)):
                    raise self._wrong(row, key, "a whole number")
        try:
            return pl.Series(found, dtype=pl.Int64, strict=True)
        except (OverflowError, TypeError, pl.exceptions.PolarsError):
            row = next(
                i for i, n in enumerate(found) if n is not None and not -(2**63) <= n < 2**63
            )
            raise self._wrong(row, key, "a number of 64 bits") from None

    def numbers(self, key: str) -> pl.Series:
        """Reads a column of numbers as Float64, null if a value is absent or null.

        Raises:
            ValueError: if a value is anything else.
        """
        found = [value.get(key) for value in self.values]
        for row, value in enumerate(found):
            if type(value) not in (float, int, type(None)):
                raise self._wrong(row, key, "a number")
        return pl.Series(found, dtype=pl.Float64, strict=False)

    def _wrong(self, row: int, key: str, expected: str) -> ValueError:
        value = self.values[row].get(key)
        return ValueError(
            f"{self.place(row)}: {key} {value!r:.50} is a {type(value).__name__} and not "
            f"{expected}; correct or remove that line."
        )


def read_objects(
    path: Path,
    on_progress: OnProgress | None = None,
    *,
    is_wanted: Callable[[bytes], bool] = lambda line: True,
) -> Iterator[Objects]:
    """Reads a file of one object per line, plain or gzipped, in blocks of some megabytes.

    Args:
        path: the file.
        on_progress: see `read_blocks`.
        is_wanted: tells whether a line is needed; other lines are skipped unread.

    Raises:
        ValueError: if a line is no object, or the file is damaged; see `read_blocks`.
    """
    num_lines = 0
    for block in read_blocks(path, on_progress):
        lines: list[int] = []
        values: list[dict[str, Any]] = []
        for line, data in block.lines():
            num_lines += 1
            if not is_wanted(data):
                continue
            try:
                value = orjson.loads(data)
            except orjson.JSONDecodeError as error:
                value = _literal(block.place(line), data, error)
            if type(value) is not dict:
                raise ValueError(
                    f"{block.place(line)}: must hold one JSON object, got {value!r:.50}."
                )
            lines.append(line)
            values.append(value)
        if values:
            yield Objects(path, lines, values)
    if not num_lines:
        raise empty_file(path)


def _literal(place: str, data: bytes, json_error: orjson.JSONDecodeError) -> Any:
    """Reads a line as a Python literal. A line that is neither JSON nor a literal is refused."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(place, error.reason) from None
    if _LITERAL.match(data) is None:
        is_cut = json_error.pos >= len(text.rstrip()) or "unexpected end" in json_error.msg
        remedy = "the line seems to be cut off, get the file again" if is_cut else "correct it"
        raise ValueError(
            f"{place}: not valid JSON ({json_error}); {remedy}. Expected is one object per line."
        ) from json_error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of odd backslashes in texts
            value = ast.literal_eval(text.strip())
        # Through JSON and back: values that JSON cannot hold are refused, such as half a surrogate
        # pair.
        return orjson.loads(orjson.dumps(value))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"{place}: neither JSON nor a Python literal ({error}); correct the line, or get the "
            "file again if it is cut off there."
        ) from error
