"""Guesses about the columns of a user's tables, from their names and their values."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from sidestep.data.clock import unit_of
from sidestep.data.events import event_counts, likely_targets, listed_counts
from sidestep.data.importers.columns import look_at_table, read_table
from sidestep.data.importers.ids import are_floats, as_whole_numbers
from sidestep.data.importers.imported import Imported
from sidestep.data.importers.item_texts import are_item_texts, read_item_texts
from sidestep.data.importers.list_columns import looks_like_lists
from sidestep.data.names import quoted_name

SAMPLED_ROWS = 20_000
"""Rows at the start of a table that guesses are made from."""

AS_SAID = "as you said"
"""The reason for a column that the user named."""

NO_TIME = "none"
"""The name that stands for no column of times."""

_USER = (
    *("user", "customer", "client", "visitor", "reviewer"),
    *("member", "account", "buyer", "shopper", "household", "uid", "session"),
)
_ITEM = (
    *("item", "product", "sku", "asin", "article", "movie", "book", "track", "song", "video"),
    *("stockcode", "upc", "ean", "gtin", "isbn"),
)
_TIME = ("timestamp", "time", "datetime", "date", "ts", "at", "created", "when", "t")
_EVENT = ("event", "action", "behavior", "behaviour", "interaction", "activity")
_EVENT_ALONE = {
    *_EVENT,
    "kind",
    "type",
    *(f"{word}{end}" for word in _EVENT for end in ("type", "name")),
}
_CURRENCY = (
    r"(?:[$€£¥₹₩₽₺]|R\$|zł|Kč|kr|Fr|USD|EUR|GBP|JPY|CNY|INR|KRW|RUB|TRY|BRL|PLN|CZK|SEK|NOK|DKK|CHF"
    r"|CAD|AUD)"
)
_AMOUNT = rf"^\s*[+-]?\s*{_CURRENCY}?\s*[+-]?\d[\d.,'’\s]*(?:{_CURRENCY}\.?|%)?\s*$"
"""Numbers with commas, and sums of money: 12,99 and 1.299,00 € and USD 5."""

_ADDRESS = r"^(https?://|www\.|data:)"
_DATE = (
    r"^([0-9]{4}[-/.]?[0-9]{1,2}[-/.]?[0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{4})([T ,]|$)"
)
_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_OBJECT = r'^(\{"|\[\s*\{)'
_LONGEST_ID = 64
"""Mean characters of a column, above which it is read as words and not as IDs."""
_MOST_EVENTS = 20
_NEARLY_ALL = 0.9
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
    """The roles that the columns of two tables seem to have.

    other_users: further columns that are called like one of users, such as one of sessions.
    event: the column that says what happened, such as "view".
    items_id: None without a table of items.
    texts: columns of the items that are words; empty without such a table.
    """

    user: Guess
    other_users: list[str] = field(default_factory=list)
    item: Guess
    time: Guess
    event: Guess = field(default_factory=lambda: Guess(column=None, why=""))
    items_id: Guess | None
    texts: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The first rows of a table, with all columns.

    frame: texts where the file has no types.
    path: where the rest is read from; None if there is none.
    """

    frame: pl.DataFrame
    path: Path | None = None

    def ids(self, names: Sequence[str]) -> Mapping[str, pl.Series]:
        """Some columns of IDs, whole, as texts."""
        frame = self.frame
        if self.path is not None and frame.height >= SAMPLED_ROWS:
            frame = read_table(self.path, names).frame
        return {name: _as_ids(frame[name]) for name in names}


def sample_of(path: Path) -> Sample:
    """Looks at a table of interactions with the reader that imports it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table that 'sidestep import table' reads.
    """
    return Sample(frame=look_at_table(path, SAMPLED_ROWS), path=path)


def sample_of_items(path: Path) -> Sample:
    """Looks at a table of items, or at texts by item, with the reader that imports them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is nothing that 'sidestep import table --items' reads.
    """
    if are_item_texts(path):
        return Sample(frame=read_item_texts(path).frame)
    return sample_of(path)


def guess_columns(
    events: pl.DataFrame,
    items: Sample | None,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    items_id: str | None = None,
) -> Columns:
    """Says what the columns seem to be; what is given is taken.

    Args:
        events: the first rows of the interactions.
        items: those of the items, if there is such a table.
        user: the column of users; None guesses it, and likewise below.
        item: of items, among the interactions.
        time: of times; "none" takes the rows in their order, where no column is called so.
        items_id: of item IDs, among the items.

    Raises:
        KeyError: a given column is not there.
        ValueError: users or items cannot be guessed; lists the columns and the options.
    """
    is_untimed = time == NO_TIME and NO_TIME not in events.columns
    time = None if is_untimed else time
    for option, column in (("--user", user), ("--item", item), ("--time", time)):
        _check(option, column, events)
    if items is not None:
        _check("--items-id", items_id, items.frame)
    item_guess, items_id_guess = _item(events, items, item, items_id, {user, time})
    left = [name for name in events.columns if name not in {item_guess.column, user}]
    time_guess = _given(time) or _time(events.select(left))
    if is_untimed:
        time_guess = Guess(column=None, why=AS_SAID)
    left = [name for name in left if name != time_guess.column]
    event_guess = guess_event(events.select(left))
    left = [name for name in left if name != event_guess.column]
    user_guess = _given(user) or _by_name(left, _USER, lambda name: _is_id(events[name]))
    if user_guess.column is None:
        ids = [n for n in left if _is_id(events[n]) and not _is_row_number(events[n])]
        user_guess = Guess(column=ids[0] if len(ids) == 1 else None, why="the only other IDs")
    for what, guess in (("user", user_guess), ("item", item_guess)):
        if guess.column is None:
            raise _unknown(what, events)
    others = [name for name in left if name != user_guess.column]
    other_users = [
        name
        for name in others
        if _by_name([name], _USER, lambda name: _is_id(events[name])).column is not None
    ]
    texts = []
    if items is not None:
        assert items_id_guess is not None
        rest = [name for name in items.frame.columns if name != items_id_guess.column]
        texts = [name for name in rest if _is_text(items.frame[name]) and "," not in name]
    return Columns(
        user=user_guess,
        other_users=other_users,
        item=item_guess,
        time=time_guess,
        event=event_guess,
        items_id=items_id_guess,
        texts=texts,
    )


def _unknown(what: str, events: pl.DataFrame) -> ValueError:
    """The error where nothing says which column names the users, or the items."""
    lists = [name for name in events.columns if _is_lists(events[name])]
    hint = ""
    if what == "item" and lists:
        hint = (
            f" The column {lists[0]!r:.60} holds lists; if they are of items, import the table "
            f"with 'sidestep import lists --items-column {lists[0]}'."
        )
    return ValueError(
        f"cannot tell which column names the {what}; say it with --{what}: the columns are "
        f"{', '.join(events.columns)}.{hint}"
    )


def _item(
    events: pl.DataFrame,
    items: Sample | None,
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
    used = {
        name: _as_ids(events[name]).drop_nulls().unique()
        for name in candidates
        if name is not None and _is_id(events[name])
    }
    keys = [items_id] if items_id is not None else items.frame.columns
    known = items.ids([key for key in keys if _is_key(items.frame[key])])
    shares = {
        (name, key): _share(values, known[key]) for name, values in used.items() for key in known
    }
    # The larger share; among equals, the column that is called like one of items.
    best = max(
        shares,
        key=lambda pair: (shares[pair], pair[0] == by_name.column, pair[0] == pair[1]),
        default=None,
    )
    if best is None or shares[best] < _MIN_SHARE:
        guessed = items_id or (by_name.column if by_name.column in items.frame.columns else None)
        if guessed is None:
            raise ValueError(
                "no column of the items holds the item IDs of the interactions; say which with "
                f"--item and --items-id: the columns are {', '.join(events.columns)} and "
                f"{', '.join(items.frame.columns)}."
            )
        return by_name, Guess(column=guessed, why="called like the other, but few IDs agree")
    name, key = best
    why = f"{shares[best]:.0%} of its values stand in {key!r} of the items"
    return _given(item) or Guess(column=name, why=why), Guess(column=key, why="see item")


def _given(column: str | None) -> Guess | None:
    return None if column is None else Guess(column=column, why=AS_SAID)


def _by_name(columns: Iterable[str], words: Sequence[str], fits: Callable[[str], bool]) -> Guess:
    """The first column named by the earliest of some words whose values fit."""
    fitting = [name for name in columns if fits(name)]
    for is_alike in (_is_word, _has_word):
        for word in words:
            for name in fitting:
                if is_alike(name, word):
                    return Guess(column=name, why="by its name")
    return Guess(column=None, why="no column is called like one")


def _time(events: pl.DataFrame) -> Guess:
    """The column of times: by its name, or as the only one that holds moments."""
    by_name = _by_name(events.columns, _TIME, lambda name: _is_time(events[name]))
    if by_name.column is not None:
        return by_name
    moments = [name for name in events.columns if _are_moments(events[name])]
    if len(moments) == 1:
        return Guess(column=moments[0], why="its values are moments")
    if moments:
        return Guess(column=None, why=f"several columns hold moments: {', '.join(moments)}")
    for word in _TIME:
        for name in events.columns:
            if _is_word(name, word) and not _is_empty(events[name]):
                shown = _texts(events[name]).drop_nulls()[0]
                why = f"{name!r:.60} is called like one, but {shown!r:.60} is no time"
                return Guess(column=None, why=why)
    return by_name


def guess_event(events: pl.DataFrame) -> Guess:
    """The column of event types: few different texts that come again, under a usual name."""
    alone = [n for n in events.columns if re.sub(r"[^a-z]", "", n.lower()) in _EVENT_ALONE]
    within = [n for n in events.columns if any(_has_word(n, word) for word in _EVENT)]
    for name in [*alone, *within]:
        column = events[name]
        num_kinds = _texts(column).drop_nulls().n_unique()
        is_event = num_kinds and not name.lower().endswith("id") and not _is_lists(column)
        if is_event and num_kinds <= min(_MOST_EVENTS, max(1, column.count() - 1)):
            return Guess(column=name, why="by its name")
    return Guess(column=None, why="no column is called like one")


def with_doubt_about_events(done: Imported, path: Path, *, taken: Sequence[str | None]) -> Imported:
    """The import of a table whose types of events nobody named; a doubt where a column has some.

    Args:
        done: of the table.
        path: of the table.
        taken: the columns that were read as something else.
    """
    frame = sample_of(path).frame
    found = guess_event(frame.drop([name for name in taken if name in frame.columns])).column
    if found is None:
        return done
    counts = event_counts(frame[found].cast(pl.String))
    if len(counts) < 2:
        return done
    doubt = (
        f"The column {found!r} looks like types of events ({listed_counts(counts)} in the first "
        f"{len(frame):,} rows), and was not named: all interactions count alike. Name it with "
        f"--event {quoted_name(found)}; then --events {','.join(likely_targets(counts))} keeps "
        "some types."
    )
    return replace(done, doubts=[*done.doubts, doubt])


def _is_word(name: str, word: str) -> bool:
    return re.sub(r"[^a-z]", "", name.lower()) in {word, f"{word}id", f"{word}s", f"{word}number"}


def _has_word(name: str, word: str) -> bool:
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return len(word) > 1 and word in re.split(r"[^a-z]+", parts)


def _texts(column: pl.Series) -> pl.Series:
    """A column as texts without blanks around them, null where it is missing or a list."""
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        return pl.repeat(None, len(column), dtype=pl.String, eager=True)
    texts = column.cast(pl.String).str.strip_chars()
    return texts.set(texts == "", None)


def _as_ids(column: pl.Series) -> pl.Series:
    ids = _texts(column)
    return as_whole_numbers(ids) if are_floats(ids) else ids


def _is_empty(column: pl.Series) -> bool:
    return not _texts(column).count()


def _is_lists(column: pl.Series) -> bool:
    is_native = isinstance(column.dtype, pl.List | pl.Array)
    return looks_like_lists(column if is_native else _texts(column))


def _is_id(column: pl.Series) -> bool:
    """Texts or whole numbers, some of them perhaps missing."""
    if column.dtype == pl.Boolean or column.dtype.is_temporal() or _is_lists(column):
        return False
    ids = _as_ids(column).drop_nulls()
    is_decimal = ids.str.contains(r"^[+-]?[0-9]*\.[0-9]+$").any()
    return not ids.is_empty() and not is_decimal


def _is_key(column: pl.Series) -> bool:
    """IDs that may tell the rows of a table apart."""
    if not _is_id(column):
        return False
    ids = _texts(column)
    length = ids.str.len_chars().mean()
    assert isinstance(length, float)
    return ids.n_unique() >= _MIN_DISTINCT * len(ids) and length <= _LONGEST_ID


def _is_row_number(column: pl.Series) -> bool:
    numbers = _as_ids(column).cast(pl.Int64, strict=False)
    if numbers.has_nulls() or not len(numbers):
        return False
    return bool((numbers == pl.int_range(len(numbers), eager=True) + numbers[0]).all())


def _is_time(column: pl.Series) -> bool:
    """Numbers or dates, nearly everywhere; the import says where there is something else."""
    if column.dtype.is_temporal() or column.dtype.is_numeric():
        return column.dtype not in (pl.Time, pl.Duration)
    texts = _texts(column).drop_nulls()
    is_fitting = texts.str.contains(_NUMBER) | texts.str.contains(_DATE)
    return not texts.is_empty() and bool(is_fitting.sum() >= _NEARLY_ALL * len(texts))


def _are_moments(column: pl.Series) -> bool:
    """Dates, or whole numbers that count from 1970 and lie between 1990 and 2100."""
    if column.dtype in (pl.Date, pl.Datetime):
        return True
    texts = _texts(column).drop_nulls()
    if texts.is_empty():
        return False
    numbers = texts.cast(pl.Int64, strict=False)
    if not numbers.has_nulls():
        return unit_of(numbers.to_numpy().astype(np.int64)) is not None
    return bool(texts.str.contains(_DATE).sum() >= _NEARLY_ALL * len(texts))


def _is_text(column: pl.Series) -> bool:
    """Words: neither numbers, sums of money nor addresses, and not empty."""
    if column.dtype == pl.List(pl.String):
        return True
    filled = _texts(column).drop_nulls() if column.dtype == pl.String else _texts(column).clear()
    if filled.is_empty() or filled.str.contains(_OBJECT).any():
        return False
    is_number = filled.str.contains(_NUMBER) | filled.str.contains(_AMOUNT)
    is_address = filled.str.contains(_ADDRESS)
    return int((is_number | is_address).sum()) < len(filled) / 2


def _share(values: pl.Series, keys: pl.Series) -> float:
    """Share of the distinct values that stand among the keys, perhaps as B1 for B1.0."""
    known = keys.drop_nulls().implode()
    shares = [
        int(column.is_in(known).sum()) / max(len(values), 1)
        for column in (values, values.str.strip_suffix(".0"))
    ]
    shorter = keys.drop_nulls().str.strip_suffix(".0").implode()
    return max(*shares, int(values.is_in(shorter).sum()) / max(len(values), 1))


def _check(option: str, column: str | None, frame: pl.DataFrame) -> None:
    if column is not None and column not in frame.columns:
        raise KeyError(f"{option} {column!r}: the columns are {', '.join(frame.columns)}.")
