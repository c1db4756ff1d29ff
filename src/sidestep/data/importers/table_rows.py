"""Rows of a table as interactions: reads IDs, times and types, and treats gaps in them.

The table may be a file or a frame in memory. This module does not depend on `Dataset`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from sidestep.data.importers.columns import Table
from sidestep.data.importers.doubts import is_missing_time
from sidestep.data.importers.ids import first_repeat, without_decimal
from sidestep.data.importers.list_columns import are_bracketed_lists
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable
from sidestep.data.users import UserTable

Missing = Literal["refuse", "drop", "keep"]
"""Policy for rows without a user or an item: refuse the file, drop the rows, or keep the rows."""

MISSING_ID = "missing"
"""Name of the item of rows without an item. A user without an ID gets this name and a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Treatment of rows in which an ID or a time is missing.

    users: "keep" makes each row without a user a user of its own, because nothing tells which of
        these rows belong together.
    items: "keep" makes one item of all rows without an item. The item is called `MISSING_ID` and
        may be recommended.
    times: there is no "keep". "drop" also leaves out the times 0 and -1 if most other times lie
        between 1990 and 2100. "refuse" lets such times pass, and the import warns of them.
    words: texts in the columns of users and items that mean a missing ID, such as NA.
    """

    users: Missing = "refuse"
    items: Missing = "refuse"
    times: Literal["refuse", "drop"] = "refuse"
    words: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The names of the columns of interactions.

    user, item: columns of IDs, text or whole numbers.
    time: column of times: numbers of any unit, or dates; None if the rows are in order of events.
    event: column of the type of event, such as "purchase"; None if there is none.
    value: column of a number, such as a rating; None if there is none.
    """

    user: str = "user_id"
    item: str = "item_id"
    time: str | None = None
    event: str | None = None
    value: str | None = None

    @property
    def all(self) -> list[str]:
        """The names of the columns that are given."""
        names = (self.user, self.item, self.time, self.event, self.value)
        return [name for name in names if name is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsRead:
    """The interactions of a table with their items.

    left_out: number of rows of the table that were left out, by reason.
    remarks: sentences on anything else that a user should know.
    """

    interactions: Interactions
    items: ItemTable
    left_out: dict[str, int]
    remarks: tuple[str, ...]


def read_rows(
    table: Table, columns: Columns, items: ItemTable | None, *, items_name: str, gaps: Gaps
) -> RowsRead:
    """Reads the interactions of a table, one per row.

    Args:
        table: the interactions.
        columns: the names of its columns.
        items: all items; None takes the items of the interactions, without texts.
        items_name: name of the table of items, for errors.
        gaps: treatment of rows in which an ID or a time is missing.

    Raises:
        ValueError: if a cell is invalid; the message names its place.
    """
    rows = _Rows.of(table, columns.user, columns.item, gaps)
    if columns.time is not None and gaps.times == "drop":
        rows = rows.with_times(columns.time)
    table, item_ids, remarks = rows.table, rows.item_ids, rows.remarks
    if items is None:
        items = ItemTable.from_ids(item_ids.unique(maintain_order=True).to_list())
    else:
        if gaps.items == "keep" and (item_ids == MISSING_ID).any():
            items = _with_missing(items, items_name)
        item_ids, items, more = _as_one_table(item_ids, items)
        remarks = (*remarks, *more)
        _refuse_unknown(table, item_ids, items, items_name)
    interactions = Interactions.from_columns(
        user_ids=rows.user_ids,
        item_ids=item_ids,
        timestamps=None if columns.time is None else table.times(columns.time),
        events=None if columns.event is None else table.texts(columns.event),
        values=None if columns.value is None else table.numbers(columns.value),
    )
    return RowsRead(interactions=interactions, items=items, left_out=rows.left_out, remarks=remarks)


def items_of(table: Table, item: str) -> ItemTable:
    """Reads a table with one row per item. All other columns are texts.

    Raises:
        ValueError: an ID is missing or repeated; the message names its place.
    """
    return ItemTable(_described(table, item, "item"))


def users_of(table: Table, user: str) -> UserTable:
    """A table with one row per user; all other columns are texts.

    Raises:
        ValueError: an ID is missing or stands twice, with its place.
    """
    return UserTable(_described(table, user, "user"))


def _described(table: Table, column: str, what: str) -> pl.DataFrame:
    """A table with one row per item or user: the IDs under their usual name, then the texts."""
    ids, id_name = table.ids(column), f"{what}_id"
    if repeat := first_repeat(ids):
        first, row = repeat
        raise ValueError(
            f"{table.place(row)}: {what} {ids[row]!r:.60} stands in an earlier row as well, "
            f"{table.place_of(first)}; keep one of the two."
        )
    texts = [table.texts(name) for name in table.frame.columns if name != column]
    if any(text.name == id_name for text in texts):
        raise ValueError(
            f"{table.path}: the column {id_name!r} is not the one of the IDs, {column!r:.60}; "
            "rename or leave it out."
        )
    return pl.DataFrame([ids.alias(id_name), *texts])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows of a table that have a user and an item.

    left_out: number of rows of the table that were left out, by reason.
    """

    table: Table
    user_ids: pl.Series
    item_ids: pl.Series
    left_out: dict[str, int]
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, table: Table, user: str, item: str, gaps: Gaps) -> "_Rows":
        """Reads the IDs, and treats gaps in them as `gaps` says.

        Raises:
            ValueError: IDs are missing and `gaps` refuses them, or no row is left.
        """
        ids = {
            "user": table.ids(user, may_lack=True, missing_words=gaps.words),
            "item": table.ids(item, may_lack=True, missing_words=gaps.words),
        }
        _refuse_lists(table, item, ids["item"])
        left_out, remarks = dict[str, int](), list[str]()
        is_kept = pl.repeat(True, len(ids["user"]), eager=True)
        for what, column, policy in (("user", user, gaps.users), ("item", item, gaps.items)):
            is_missing = ids[what].is_null() & is_kept
            number = int(is_missing.sum())
            if not number:
                continue
            if policy == "refuse":
                _refuse_missing(table, column, is_missing, what)
            elif policy == "drop":
                left_out[lacking(what)] = number
                is_kept &= ~is_missing
            else:
                ids[what] = _named(table, column, ids[what], one_each=what == "user")
                kept_as = "each as a user of its own" if what == "user" else f"as {MISSING_ID!r}"
                remarks.append(f"{number:,} rows without {_article(what)} are kept, {kept_as}.")
        for what, column in (("user", user), ("item", item)):
            if _were_floats(table.column(column), ids[what]):
                remarks.append(
                    f"The IDs in {column!r:.60} that were written as 41.0 are read as 41."
                )
        if not is_kept.any():
            said = ", ".join(f"{number} {why}" for why, number in left_out.items())
            raise ValueError(f"{table.path}: no row is left: {said}; name other columns.")
        return cls(
            table=table.kept(is_kept),
            user_ids=ids["user"].filter(is_kept),
            item_ids=ids["item"].filter(is_kept),
            left_out=left_out,
            remarks=tuple(remarks),
        )

    def with_times(self, time: str) -> "_Rows":
        """The rows that have a time."""
        counts = self.table.moments(time).counts
        is_zero = is_missing_time(counts)
        is_kept = counts.is_not_null() & ~is_zero
        if is_kept.all():
            return self
        if not is_kept.any():
            raise ValueError(f"{self.table.path}: no row has a time in {time!r:.60}; name another.")
        numbers = {lacking("time"): counts.null_count(), ZERO_TIME: int(is_zero.sum())}
        left_out = {why: number for why, number in numbers.items() if number}
        return replace(
            self,
            table=self.table.kept(is_kept),
            user_ids=self.user_ids.filter(is_kept),
            item_ids=self.item_ids.filter(is_kept),
            left_out={**self.left_out, **left_out},
        )


ZERO_TIME = "have the time 0 or -1"
"""The reason in `left_out` for rows whose time means a missing time."""


def lacking(what: str) -> str:
    """The reason in `left_out` for rows that lack a user, an item or a time."""
    return f"lack {_article(what)}"


def _article(what: str) -> str:
    return f"an {what}" if what == "item" else f"a {what}"


def _refuse_lists(table: Table, column: str, ids: pl.Series) -> None:
    """Refuses items that are lists of items."""
    if are_bracketed_lists(ids):
        row = ids.is_not_null().arg_max()
        assert row is not None
        raise ValueError(
            f"{table.place(row)}: {column:.60} {ids[row]!r:.60} is a list, and so are all others; "
            "write one item per row, or import a file of lists with 'sidestep import lists "
            f"--items-column {column}'."
        )


def _refuse_missing(table: Table, column: str, is_missing: pl.Series, what: str) -> None:
    row = is_missing.arg_max()
    assert row is not None
    raise ValueError(
        f"{table.place(row)}: {column:.60} is missing, in {int(is_missing.sum()):,} of "
        f"{len(is_missing):,} rows. Correct the rows, or leave them out with --missing-{what}s "
        "drop."
    )


def _named(table: Table, column: str, ids: pl.Series, *, one_each: bool) -> pl.Series:
    """The IDs, with names for missing IDs."""
    is_missing = ids.is_null()
    names = pl.repeat(MISSING_ID, len(ids), eager=True)
    if one_each:
        names = pl.select(pl.format(MISSING_ID + "-{}", is_missing.cum_sum())).to_series()
    if ids.is_in(names.filter(is_missing).implode()).any():
        raise ValueError(
            f"{table.path}: {column:.60} holds {names.filter(is_missing)[0]!r} itself, so that "
            "rows without an ID cannot be called so; rename it, or leave these rows out."
        )
    return ids.zip_with(~is_missing, names)


def _were_floats(column: pl.Series, ids: pl.Series) -> bool:
    """Tells whether the column writes IDs with a .0 that the IDs no longer have."""
    if column.dtype != pl.String:
        return column.dtype.is_float()
    return bool((column.str.ends_with(".0") & ~ids.str.ends_with(".0")).any())


def _with_missing(items: ItemTable, items_name: str) -> ItemTable:
    if MISSING_ID in items.item_ids:
        raise ValueError(
            f"{items_name}: an item is called {MISSING_ID!r}, so that rows without an item cannot "
            "be called so; rename it, or leave these rows out with --missing-items drop."
        )
    missing = pl.DataFrame({"item_id": [MISSING_ID]})
    return ItemTable(pl.concat([items.frame, missing], how="diagonal"))


def _as_one_table(
    item_ids: pl.Series, items: ItemTable
) -> tuple[pl.Series, ItemTable, tuple[str, ...]]:
    """Gives both tables the same IDs if one of them writes B1.0 for B1, with a remark on that."""
    known = items.frame["item_id"]
    remark = ("The item IDs of one table end in .0 and those of the other do not; it is left out.",)
    shorter = without_decimal(item_ids, known)
    if shorter is not None:
        return shorter, items, remark
    used = item_ids.unique()
    if known.str.ends_with(".0").all() and not used.str.ends_with(".0").any():
        stripped = known.str.strip_suffix(".0")
        if used.is_in(stripped.implode()).all():
            return item_ids, ItemTable(items.frame.with_columns(item_id=stripped)), remark
    return item_ids, items, ()


def _refuse_unknown(table: Table, item_ids: pl.Series, items: ItemTable, items_name: str) -> None:
    is_unknown = ~item_ids.is_in(items.item_ids)
    if is_unknown.any():
        row = is_unknown.arg_max()
        assert row is not None
        num_unknown = item_ids.filter(is_unknown).n_unique()
        raise ValueError(
            f"{table.place(row)}: item {item_ids[row]!r:.60} has no row in {items_name} "
            f"({num_unknown} such items in all); add them there, or drop their interactions."
        )
