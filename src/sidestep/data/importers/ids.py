"""IDs: texts that name users and items, and repairs of numbers that programs have changed.

If a number of a column is missing, pandas turns its whole numbers into floating-point numbers, so
41 becomes 41.0. Spreadsheets round long numbers to 1.23457E+11.
"""

import polars as pl

_FLOAT_LIKE = r"^([0-9]+)\.0+$"
_WHOLE = r"^[0-9]+(\.0+)?$"
_ROUNDED = r"^[0-9](\.[0-9]+)?[eE]\+[0-9]+$"


def are_floats(ids: pl.Series) -> bool:
    """Tells whether all IDs are whole numbers, some written as 41.0. Nulls are ignored."""
    return bool(ids.str.contains(_FLOAT_LIKE).any()) and bool(ids.str.contains(_WHOLE).all())


def as_whole_numbers(ids: pl.Series) -> pl.Series:
    """The IDs, with 41.0 written as 41."""
    return ids.str.replace(_FLOAT_LIKE, "$1")


def are_rounded(ids: pl.Series) -> pl.Series:
    """Mask of the IDs that are numbers of which a spreadsheet kept only the first digits."""
    return ids.str.contains(_ROUNDED).fill_null(False)


def without_decimal(ids: pl.Series, known: pl.Series) -> pl.Series | None:
    """The IDs as another table writes them, if B1.0 stands for B1; otherwise None.

    Args:
        ids: IDs of one table, without nulls.
        known: IDs of the other table, without nulls.
    """
    if not ids.str.ends_with(".0").all() or known.str.ends_with(".0").any():
        return None
    shorter = ids.str.strip_suffix(".0")
    return shorter if shorter.is_in(known.implode()).all() else None


def first_repeat(ids: pl.Series) -> tuple[int, int] | None:
    """Finds the first row that repeats the ID of an earlier row.

    Returns:
        The earlier row and the repeating row; None if all IDs differ.
    """
    is_repeated = ~ids.is_first_distinct()
    row = is_repeated.arg_max()
    if row is None or not is_repeated[row]:
        return None
    first = ids.index_of(ids[row])
    assert first is not None
    return first, row
