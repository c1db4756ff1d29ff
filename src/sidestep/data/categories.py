"""Categories: columns of items or users whose values recur, such as a brand or a country.

A column of categories holds one value per cell, or several with a separator between them. A
vocabulary numbers the values of some columns. The vocabulary reads other items or users in the same
numbers, so a catalog can grow after a network was trained.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Float, Int

NO_CATEGORY = -1
"""The padding of a row without further values."""

_SEPARATORS = ("|", ";")
_SHARE_SEPARATED = 0.1
_SHARE_FILLED = 0.5
_ROWS_PER_VALUE = 3
_LOOKED_AT = 100_000


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The values of some columns, numbered across the columns.

    separators: the columns in their order; per column the text between the values of a cell. None:
        a cell is one value.
    values: per column its values, in the order of their numbers. The numbers of a column follow
        those of the column before.
    """

    separators: Mapping[str, str | None]
    values: Mapping[str, tuple[str, ...]]

    @staticmethod
    def of(
        frame: pl.DataFrame, separators: Mapping[str, str | None], *, min_count: int = 1
    ) -> "Vocabulary":
        """The vocabulary of the values that occur in a frame.

        Args:
            frame: one row per item or user, with columns of text.
            separators: the columns to read, see `Vocabulary`.
            min_count: rows that a value must occur in; a rarer value is left out.

        Raises:
            KeyError: the frame lacks a column; lists the columns that there are.
            ValueError: a separator is empty, or a column holds no value that is frequent enough.
        """
        values: dict[str, tuple[str, ...]] = {}
        for name, separator in separators.items():
            if name not in frame.columns:
                raise KeyError(
                    f"there is no column {name!r}; there are {', '.join(frame.columns)}."
                )
            if separator == "":
                raise ValueError(f"column {name!r}: the separator is empty; write null for none.")
            counts = Counter(value for cell in _cells(frame[name], separator) for value in cell)
            kept = tuple(sorted(value for value, count in counts.items() if count >= min_count))
            if not kept:
                raise ValueError(
                    f"column {name!r} holds no value that occurs in {min_count} rows or more; "
                    "leave the column out."
                )
            values[name] = kept
        return Vocabulary(separators=dict(separators), values=values)

    def __len__(self) -> int:
        """Values of all columns together."""
        return sum(map(len, self.values.values()))

    @cached_property
    def _numbers(self) -> dict[str, dict[str, int]]:
        first, numbers = 0, {}
        for name, values in self.values.items():
            numbers[name] = {value: first + place for place, value in enumerate(values)}
            first += len(values)
        return numbers

    def read(self, frame: pl.DataFrame) -> "Categories":
        """The categories of the rows of a frame.

        Values that the vocabulary lacks, and columns that the frame lacks, count as missing.
        """
        rows: list[list[tuple[int, float]]] = [[] for _ in range(frame.height)]
        for name, numbers in self._numbers.items():
            if name not in frame.columns:
                continue
            for row, cell in enumerate(_cells(frame[name], self.separators[name])):
                known = [numbers[value] for value in cell if value in numbers]
                rows[row] += [(number, 1 / len(known)) for number in known]
        return Categories.of_rows(rows)

    def description(self) -> dict[str, dict[str, str | list[str] | None]]:
        """The vocabulary as JSON, by column."""
        return {
            name: {"separator": self.separators[name], "values": list(values)}
            for name, values in self.values.items()
        }

    @staticmethod
    def from_description(content: Mapping[str, Mapping[str, object]]) -> "Vocabulary":
        """Reads `description`.

        Raises:
            ValueError: the content is no description of a vocabulary.
        """
        separators: dict[str, str | None] = {}
        values: dict[str, tuple[str, ...]] = {}
        for name, column in content.items():
            separator, found = column.get("separator"), column.get("values")
            if not (separator is None or isinstance(separator, str)) or not (
                isinstance(found, list) and all(isinstance(value, str) for value in found)
            ):
                raise ValueError(
                    f"column {name!r}: this is no vocabulary of categories; give a separator or "
                    "null, and a list of texts as values."
                )
            separators[name] = separator
            values[name] = tuple(found)
        return Vocabulary(separators=separators, values=values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Categories:
    """The categories of some rows, as numbers of a vocabulary.

    numbers: the values of each row; `NO_CATEGORY` is padding.
    weights: 1 over the number of values that the row has in the column of the value, so that every
        column counts alike; 0 at padding.
    """

    numbers: Int[np.ndarray, "rows slots"]
    weights: Float[np.ndarray, "rows slots"]

    def __len__(self) -> int:
        return len(self.numbers)

    def select(self, rows: Int[np.ndarray, " chosen"]) -> "Categories":
        """The given rows, in that order."""
        return Categories(numbers=self.numbers[rows], weights=self.weights[rows])

    @staticmethod
    def of_rows(rows: Sequence[Sequence[tuple[int, float]]]) -> "Categories":
        """Pads rows of pairs of a number and its weight."""
        width = max(1, *map(len, rows)) if rows else 1
        numbers = np.full((len(rows), width), NO_CATEGORY, dtype=np.int64)
        weights = np.zeros((len(rows), width), dtype=np.float32)
        for row, pairs in enumerate(rows):
            for place, (number, weight) in enumerate(pairs):
                numbers[row, place] = number
                weights[row, place] = weight
        return Categories(numbers=numbers, weights=weights)


def first_categories(
    column: pl.Series, separator: str | None, values: Sequence[str]
) -> Int[np.ndarray, " rows"]:
    """The category of each row: the number of the first value of its cell.

    Args:
        column: of texts.
        separator: the text between the values of a cell; None: a cell is one value.
        values: the categories, in the order of their numbers.

    Returns:
        `NO_CATEGORY` where a cell is empty, or its first value is no category.
    """
    numbers = {value: number for number, value in enumerate(values)}
    firsts = (cell[0] if cell else "" for cell in _cells(column, separator))
    return np.array([numbers.get(first, NO_CATEGORY) for first in firsts], dtype=np.int64)


def frequent_first_values(
    column: pl.Series, separator: str | None, *, min_count: int = 1
) -> tuple[str, ...]:
    """The first values of the cells of a column, in order, each once.

    Args:
        column: of texts.
        separator: see `first_categories`.
        min_count: cells that a value must begin; a rarer value is left out.
    """
    counts = Counter(cell[0] for cell in _cells(column, separator) if cell)
    return tuple(sorted(value for value, count in counts.items() if count >= min_count))


def recurring_columns(frame: pl.DataFrame) -> dict[str, str | None]:
    """The columns that a network may read as categories, with the separator of their values.

    A column counts if half of the first 100,000 rows have a value, there are two values or more,
    and a value stands in three rows on average. A separator, | or ;, counts if a tenth of the cells
    have it. Only a measurement tells whether such a column helps a network.

    Args:
        frame: one row per item or user; columns of other types than text are passed over.
    """
    found: dict[str, str | None] = {}
    for column in frame.head(_LOOKED_AT):
        if column.dtype != pl.String:
            continue
        filled = column.drop_nulls()
        separator = next(
            (
                sign
                for sign in _SEPARATORS
                if filled.str.contains(sign, literal=True).sum() > _SHARE_SEPARATED * len(filled)
            ),
            None,
        )
        cells = [cell for cell in _cells(filled, separator) if cell]
        counts = Counter(value for cell in cells for value in cell)
        has_enough = len(cells) >= _SHARE_FILLED * len(column)
        if has_enough and 2 <= len(counts) <= counts.total() / _ROWS_PER_VALUE:
            found[column.name] = separator
    return found


def _cells(column: pl.Series, separator: str | None) -> list[list[str]]:
    """The distinct values of each cell, in their order."""
    cells = []
    for text in column.cast(pl.String):
        parts = [] if text is None else [text] if separator is None else text.split(separator)
        stripped = (part.strip() for part in parts)
        cells.append(list(dict.fromkeys(part for part in stripped if part)))
    return cells
