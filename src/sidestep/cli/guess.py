"""Guesses which column of a user's tables is which, from their names and their values."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sidestep.data.importers.columns import JSON_LINES, SEPARATORS, unknown_suffix

SAMPLED_ROWS = 20_000
"""Rows at the start of a table that guesses are made from."""

_USER = (
    *("user", "customer", "client", "visitor", "reviewer"),
    *("member", "account", "buyer", "session"),
)
_ITEM = ("item", "product", "sku", "asin", "article", "movie", "book", "track", "song", "video")
_TIME = ("timestamp", "time", "datetime", "date", "ts", "at", "created", "when")
_ADDRESS = r"^(https?://|www\.|data:)"
_MIN_SHARE = 0.5
"""Share of sampled item IDs that must stand in a column for it to hold the IDs of items."""
_MIN_DISTINCT = 0.9
"""Share of rows with a value of their own in a column of IDs; a row may stand in a table twice,
which the import refuses with its line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A column and why it was taken; None where there seems to be none."""

    column: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What the columns of two tables seem to be.

    items_id: None without a table of items.
    texts: columns of the items that are words; empty without such a table.
    """

    user: Guess
    item: Guess
    time: Guess
    items_id: Guess | None
    texts: list[str]


def sample_of(path: Path) -> pl.DataFrame:
    """The first rows of a table, all as text where the file has no types.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table that 'sidestep import table' reads.
    """
    return _read(path, lambda rows: rows.head(SAMPLED_ROWS))


def table_size(path: Path, user: str, item: str) -> tuple[int, int, int]:
    """Rows of a table, and distinct users and items in it; it is read to its end.

    Raises:
        ValueError: see `sample_of`, of any row.
    """
    counts = _read(
        path,
        lambda rows: rows.select(
            rows=pl.len(), users=pl.col(user).n_unique(), items=pl.col(item).n_unique()
        ),
    )
    num_rows, num_users, num_items = counts.row(0)
    return num_rows, num_users, num_items


def guess_columns(
    events: pl.DataFrame,
    items: pl.DataFrame | None,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    items_id: str | None = None,
) -> Columns:
    """Says what the columns seem to be; what is given is taken.

    Raises:
        KeyError: a given column is not there.
        ValueError: users or items cannot be guessed; lists the columns and the options.
    """
    for option, column in (("--user", user), ("--item", item), ("--time", time)):
        _check(option, column, events)
    if items is not None:
        _check("--items-id", items_id, items)
    item_guess, items_id_guess = _item(events, items, item, items_id, {user, time})
    left = [name for name in events.columns if name not in {item_guess.column, user}]
    time_guess = _given(time) or _by_name(left, _TIME, lambda name: _is_time(events[name]))
    left = [name for name in left if name != time_guess.column]
    user_guess = _given(user) or _by_name(left, _USER, lambda name: _is_id(events[name]))
    if user_guess.column is None:
        ids = [name for name in left if _is_id(events[name])]
        user_guess = Guess(column=ids[0] if len(ids) == 1 else None, why="the only other IDs")
    for what, guess in (("user", user_guess), ("item", item_guess)):
        if guess.column is None:
            raise ValueError(
                f"cannot tell which column names the {what}; say it with --{what}: the columns are "
                f"{', '.join(events.columns)}."
            )
    texts = []
    if items is not None:
        assert items_id_guess is not None
        rest = [name for name in items.columns if name != items_id_guess.column]
        texts = [name for name in rest if _is_text(items[name])]
    return Columns(
        user=user_guess, item=item_guess, time=time_guess, items_id=items_id_guess, texts=texts
    )


def _item(
    events: pl.DataFrame,
    items: pl.DataFrame | None,
    item: str | None,
    items_id: str | None,
    taken: set[str | None],
) -> tuple[Guess, Guess | None]:
    """The columns of item IDs in both tables: if there are two, their values speak."""
    left = [name for name in events.columns if name not in taken]
    by_name = _given(item) or _by_name(left, _ITEM, lambda name: _is_id(events[name]))
    if items is None:
        return by_name, None
    candidates = [by_name.column] if item is not None else left
    keys = [items_id] if items_id is not None else items.columns
    shares = {
        (name, key): _share(events[name], items[key])
        for name in candidates
        for key in keys
        if name is not None and items[key].n_unique() >= _MIN_DISTINCT * items.height
    }
    # The larger share; among equals, the column that is called like one of items.
    best = max(
        shares,
        key=lambda pair: (shares[pair], pair[0] == by_name.column, pair[0] == pair[1]),
        default=None,
    )
    if best is None or shares[best] < _MIN_SHARE:
        guessed = items_id or (by_name.column if by_name.column in items.columns else None)
        if guessed is None:
            raise ValueError(
                "no column of the items holds the item IDs of the interactions; say which with "
                f"--item and --items-id: the columns are {', '.join(events.columns)} and "
                f"{', '.join(items.columns)}."
            )
        return by_name, Guess(column=guessed, why="called like the other, but few IDs agree")
    name, key = best
    why = f"{shares[best]:.0%} of its values stand in {key!r} of the items"
    return _given(item) or Guess(column=name, why=why), Guess(column=key, why="see item")


def _given(column: str | None) -> Guess | None:
    return None if column is None else Guess(column=column, why="as you said")


def _by_name(columns: Iterable[str], words: Sequence[str], fits: Callable[[str], bool]) -> Guess:
    """The first column named by the earliest of some words whose values fit."""
    fitting = [name for name in columns if fits(name)]
    for is_alike in (_is_word, _has_word):
        for word in words:
            for name in fitting:
                if is_alike(name, word):
                    return Guess(column=name, why="by its name")
    return Guess(column=None, why="no column is called like one")


def _is_word(name: str, word: str) -> bool:
    return re.sub(r"[^a-z]", "", name.lower()) in {word, f"{word}id", f"{word}s", f"{word}number"}


def _has_word(name: str, word: str) -> bool:
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return word in re.split(r"[^a-z]+", parts)


def _is_id(column: pl.Series) -> bool:
    """Texts or whole numbers, nowhere missing."""
    if column.dtype.is_integer():
        return not column.has_nulls()
    return column.dtype == pl.String and not (column.is_null() | (column == "")).any()


def _is_time(column: pl.Series) -> bool:
    if column.dtype.is_temporal() or column.dtype.is_integer():
        return True
    if column.dtype != pl.String:
        return False
    is_number = column.cast(pl.Float64, strict=False).is_not_null()
    return bool((is_number | column.str.contains(r"^\d{4}-\d\d-\d\d")).all())


def _is_text(column: pl.Series) -> bool:
    """Words: neither numbers nor addresses, and not empty."""
    if column.dtype == pl.List(pl.String):
        return True
    if column.dtype != pl.String:
        return False
    filled = column.filter(column != "")
    if filled.is_empty():
        return False
    is_number = filled.cast(pl.Float64, strict=False).is_not_null()
    is_address = filled.str.contains(_ADDRESS)
    return int((is_number | is_address).sum()) < len(filled) / 2


def _share(column: pl.Series, keys: pl.Series) -> float:
    """Share of the distinct values that stand among the keys."""
    if not (_is_id(column) and _is_id(keys)):
        return 0.0
    values = column.cast(pl.String).unique()
    return int(values.is_in(keys.cast(pl.String).to_list()).sum()) / max(len(values), 1)


def _check(option: str, column: str | None, frame: pl.DataFrame) -> None:
    if column is not None and column not in frame.columns:
        raise KeyError(f"{option} {column!r}: the columns are {', '.join(frame.columns)}.")


def _read(path: Path, query: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.DataFrame:
    """What a query says of a table; polars tells of damage only when it gets there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        return query(_scan(path)).collect()
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path}: not a readable table ({reason}); correct it, or export it again."
        ) from error


def _scan(path: Path) -> pl.LazyFrame:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return pl.scan_parquet(path)
    if suffix in JSON_LINES:
        return pl.scan_ndjson(path)
    if suffix in SEPARATORS:
        return pl.scan_csv(path, separator=SEPARATORS[suffix], infer_schema=False)
    raise unknown_suffix(path)
