"""IDs: texts that name users and items, and what programs make of those that are numbers.

pandas makes floating-point numbers of whole ones where one of them is missing, so that 41 becomes
41.0; spreadsheets round long ones to 1.23457E+11.
"""

import polars as pl

_FLOAT_LIKE = r"^([0-9]+)\.0+$"
_WHOLE = r"^[0-9]+(\.0+)?$"
_ROUNDED = r"^[0-9](\.[0-9]+)?[eE]\+[0-9]+$"


def are_floats(ids: pl.Series) -> bool:
    """Whether all IDs are whole numbers and some are written as 41.0; nulls count for nothing."""
    return bool(ids.str.contains(_FLOAT_LIKE).any()) and bool(ids.str.contains(_WHOLE).all())


def as_whole_numbers(ids: pl.Series) -> pl.Series:
    """The same IDs with 41.0 as 41."""
    return ids.str.replace(_FLOAT_LIKE, "$1")


def are_rounded(ids: pl.Series) -> pl.Series:
    """Which IDs are numbers of which a spreadsheet kept the first digits alone."""
    return ids.str.contains(_ROUNDED).fill_null(False)


def without_decimal(ids: pl.Series, known: pl.Series) -> pl.Series | None:
    """The same IDs as another table has them, where B1.0 stands for B1; None if that is not so.

    Args:
        ids: of one table, nowhere null.
        known: of the other, nowhere null.
    """
    if not ids.str.ends_with(".0").all() or known.str.ends_with(".0").any():
        return None
    shorter = ids.str.strip_suffix(".0")
    return shorter if shorter.is_in(known.implode()).all() else None


def first_repeat(ids: pl.Series) -> tuple[int, int] | None:
    """The first row whose ID stands in an earlier row, after that row; None where none does."""
    is_repeated = ~ids.is_first_distinct()
    row = is_repeated.arg_max()
    if row is None or not is_repeated[row]:
        return None
    first = ids.index_of(ids[row])
    assert first is not None
    return first, row
