"""A table of a page: a caption, columns with units in their names, and rows that have headers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A number that says more than itself.

    text: the number as it is shown.
    notes: small lines below it, such as its interval.
    is_best: shown in bold.
    """

    text: str
    notes: tuple[str, ...] = ()
    is_best: bool = False


Entry = Cell | str | int | float | None
"""Numbers stand to the right, words to the left and in lines; None was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns.

    caption: one sentence that says what is counted, and how.
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
        """Per column, whether it holds words; the first always does."""
        return tuple(
            index == 0 or any(isinstance(row[index], str) for row in self.rows)
            for index in range(len(self.columns))
        )


def number(value: float | int) -> str:
    """Counts in full; four decimals for shares, fewer for what is large, none for nothing."""
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 1.5:
        return f"{value:.2f}"
    return "0" if abs(value) < 0.00005 else f"{value:.4f}"


def number_range(low: float, high: float) -> str:
    """From one number to another, such as the bounds of an interval."""
    return f"{number(low)}–{number(high)}"


def p_value(value: float) -> str:
    """A p-value to three decimals, or that it is smaller."""
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".", 1)
