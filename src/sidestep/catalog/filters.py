"""Filters: the items whose texts have wanted values, such as the genre "Drama"."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool

Where = tuple[tuple[str, tuple[str, ...]], ...]
"""Filters as a key: columns and their wanted values, both in order and each once."""

_SEPARATORS = "|;,"
_SHOWN = 5


def filter_key(where: Any) -> Where:
    """Filters as a key: equal keys for filters that say the same.

    Args:
        where: per column a wanted value, or several of which any will do.

    Raises:
        TypeError: `where` is no mapping, or a column or value no text.
        ValueError: a column without a value, or a value of blanks.
    """
    if not isinstance(where, Mapping):
        raise TypeError(
            f'where names columns and values, such as {{"genre": "Drama"}}, got {where!r:.60}.'
        )
    return tuple(sorted((_column(name), _values(name, given)) for name, given in where.items()))


def matching(texts: pl.LazyFrame | None, where: Where) -> Bool[np.ndarray, " items"]:
    """The items that have a wanted value in every column of `where`, as a mask.

    A cell has a value if the cell equals the value, or lists the value: between signs `|`, `;` or
    `,`, blanks around it aside. Upper and lower case differ. A cell without a text has no value.

    Args:
        texts: of the catalog, one row per item.
        where: at least one column, see `filter_key`.

    Raises:
        KeyError: the catalog has no such column, or no item has any of the values of a column.
    """
    columns = [] if texts is None else texts.collect_schema().names()
    for name, _ in where:
        if name not in columns:
            there_are = f"there are {', '.join(columns)}" if columns else "its items have no texts"
            raise KeyError(f"where: the catalog has no column {name!r:.60}; {there_are}.")
    assert texts is not None
    found = texts.select(
        pl.col(name).cast(pl.String).str.contains(_pattern(values)).fill_null(value=False)
        for name, values in where
    ).collect()
    for name, values in where:
        if not found[name].any():
            raise KeyError(
                f"where: no item has {' or '.join(map(repr, values))[:80]} in the column {name!r}; "
                f"its cells are such as {_examples(texts, name)}."
            )
    is_wanted: np.ndarray = found.select(pl.all_horizontal(pl.all())).to_series().to_numpy()
    return is_wanted


def _column(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"where: a column is named by a text, got {name!r:.60}.")
    return name


def _values(name: str, given: object) -> tuple[str, ...]:
    values = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    for value in values:
        if not isinstance(value, str):
            raise TypeError(
                f"where: values are texts, got {type(value).__name__} {value!r:.60} for the column "
                f"{name!r}; pass {str(value)!r:.60}."
            )
        if not value.strip():
            raise ValueError(f"where: a value of the column {name!r} is empty; leave it out.")
    if not values:
        raise ValueError(f"where: the column {name!r} has no value; leave the column out.")
    return tuple(sorted({value.strip() for value in values if isinstance(value, str)}))


def _pattern(values: tuple[str, ...]) -> str:
    any_value = "|".join(map(pl.escape_regex, values))
    return rf"(?:^|[{_SEPARATORS}])\s*(?:{any_value})\s*(?:$|[{_SEPARATORS}])"


def _examples(texts: pl.LazyFrame, name: str) -> str:
    """Some cells of a column, the most frequent ones first."""
    cells = texts.select(pl.col(name).cast(pl.String)).drop_nulls().collect()[name]
    common = cells.value_counts().sort(["count", name], descending=[True, False])[name]
    return ", ".join(f"{cell!r:.40}" for cell in common.head(_SHOWN)) or "none"
