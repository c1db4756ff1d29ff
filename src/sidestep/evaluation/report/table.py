"""A table of a page: a caption, columns with units in their names, and rows that have headers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a number with notes.

    text: the number as it is shown.
    notes: small lines below it, such as its interval.
    is_best: whether the number is shown in bold.
    """

    text: str
    notes: tuple[str, ...] = ()
    is_best: bool = False


Entry = Cell | str | int | float | None
"""Entry of a table. Numbers are aligned to the right, words to the left; None was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns.

    caption: one sentence that says what is measured, and how.
    columns: the first is the header of the rows.
    rows: each starts with its header, a word or a cell with notes.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"the table {self.caption!r} has {len(self.columns)} columns and a row of "
                    f"{len(row)}: {row[0]!r}."
                )

    @property
    def is_words(self) -> tuple[bool, ...]:
        """Tells for every column whether it holds words; the first column always does."""
        return tuple(
            index == 0 or any(isinstance(row[index], str) for row in self.rows)
            for index in range(len(self.columns))
        )


def number(value: float | int) -> str:
    """Writes counts in full, shares with four decimals, larger numbers with fewer, zero as "0"."""
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 1.5:
        return f"{value:.2f}"
    return "0" if abs(value) < 0.00005 else f"{value:.4f}"


def number_range(low: float, high: float) -> str:
    """Writes a range from one number to another, such as the bounds of an interval."""
    return f"{number(low)}–{number(high)}"


def p_value(value: float) -> str:
    """Writes a p-value to three decimals, or that it is smaller than the smallest of these."""
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".", 1)
