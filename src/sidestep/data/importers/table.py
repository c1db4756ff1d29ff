"""Tables of interactions: CSV, TSV, Parquet or JSON files, by the names of their columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from sidestep.data.dataset import Dataset
from sidestep.data.importers.columns import Table, read_table
from sidestep.data.importers.doubts import is_missing_time
from sidestep.data.importers.ids import without_decimal
from sidestep.data.importers.imported import Imported
from sidestep.data.importers.item_texts import are_item_texts, read_item_texts
from sidestep.data.importers.list_columns import are_bracketed_lists
from sidestep.data.importers.sources import listed, sha256_of
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable

Missing = Literal["refuse", "drop", "keep"]
"""What becomes of rows without a user or an item: the file is refused, they leave, or they stay."""

MISSING_ID = "missing"
"""What is called so that has no ID: an item, or a user, with a number behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """What becomes of rows in which something is missing.

    users: "keep" makes a user of its own of each row, because nobody knows which of them belong
        together.
    items: "keep" makes one item of all of them, which is called `MISSING_ID` and may be
        recommended.
    times: there is no "keep". "drop" also leaves out the times 0 and -1 where most others lie
        between 1990 and 2100; "refuse" lets them pass, and the import warns of them.
    words: texts in the columns of users and items that stand for a missing ID, such as NA.
    """

    users: Missing = "refuse"
    items: Missing = "refuse"
    times: Literal["refuse", "drop"] = "refuse"
    words: Sequence[str] = ()


def import_table(
    path: Path,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = None,
    event: str | None = None,
    value: str | None = None,
    items_path: Path | None = None,
    items_item: str | None = None,
    text_columns: Sequence[str] | None = None,
    gaps: Gaps = Gaps(),
    name: str | None = None,
) -> Imported:
    """Imports interactions, one per row, and perhaps a table of items.

    Args:
        path: the interactions, see `read_table`.
        user: the column of user IDs, text or whole numbers.
        item: the column of item IDs.
        time: the column of times: numbers of any unit, or dates. Without it the rows must stand
            in the order of events.
        event: the column that says what happened, such as "purchase".
        value: the column of a number, such as a rating.
        items_path: one row per item; without it the items are those that occur, without texts.
        items_item: the column of item IDs in `items_path`; None means the same name as `item`.
        text_columns: the columns of `items_path` to keep; None keeps all.
        gaps: what becomes of rows in which something is missing.
        name: of the dataset; None takes the file's.

    Raises:
        ValueError: if a file is not what it should be, with the file and, where there is one, the
            line.
    """
    optional = [column for column in (time, event, value) if column is not None]
    rows = _Rows.of(read_table(path, [user, item, *optional]), user, item, gaps)
    if time is not None and gaps.times == "drop":
        rows = rows.with_times(time)
    table, item_ids, remarks = rows.table, rows.item_ids, rows.remarks
    if items_path is None:
        items = ItemTable.from_ids(item_ids.unique(maintain_order=True).to_list())
    else:
        items = read_items(items_path, items_item or item, text_columns)
        if gaps.items == "keep" and (item_ids == MISSING_ID).any():
            items = _with_missing(items, items_path)
        item_ids, items, more = _as_one_table(item_ids, items)
        remarks = (*remarks, *more)
        _refuse_unknown(table, item_ids, items, items_path)
    interactions = Interactions.from_columns(
        user_ids=rows.user_ids,
        item_ids=item_ids,
        timestamps=None if time is None else table.times(time),
        events=None if event is None else table.texts(event),
        values=None if value is None else table.numbers(value),
    )
    dataset = Dataset(
        interactions=interactions,
        items=items,
        name=name or _name_of(path),
        sources=sha256_of(path, items_path),
    )
    return Imported(dataset=dataset, left_out=rows.left_out, remarks=remarks)


def read_items(path: Path, item: str, text_columns: Sequence[str] | None = None) -> ItemTable:
    """Reads a table of items, or what `read_item_texts` reads.

    Args:
        path: one row per item, see `read_table`; or a JSON object with one entry per item.
        item: the column of item IDs; in an object the keys are the IDs.
        text_columns: the columns to keep; None keeps all.

    Raises:
        ValueError: if the file is not what it should be, with the line where there is one.
    """
    if are_item_texts(path):
        return _json_items(path, text_columns)
    table = read_table(path, None if text_columns is None else [item, *text_columns])
    item_ids = table.ids(item)
    is_repeated = ~item_ids.is_first_distinct()
    if is_repeated.any():
        row = is_repeated.arg_max()
        assert row is not None
        first = item_ids.index_of(item_ids[row])
        assert first is not None
        raise ValueError(
            f"{table.place(row)}: item {item_ids[row]!r:.60} stands in an earlier row as well, "
            f"{table.place_of(first)}; keep one of the two."
        )
    texts = [table.texts(name) for name in table.frame.columns if name != item]
    if any(text.name == "item_id" for text in texts):
        raise ValueError(
            f"{path}: the column 'item_id' is not the one of the IDs, {item!r:.60}; "
            "rename or leave it out."
        )
    return ItemTable(pl.DataFrame([item_ids.alias("item_id"), *texts]))


def _json_items(path: Path, text_columns: Sequence[str] | None) -> ItemTable:
    items = read_item_texts(path)
    if text_columns is None:
        return items
    for name in text_columns:
        if name not in items.text_columns:
            raise ValueError(
                f"{path}: no entry has the field {name!r:.60}; there are "
                f"{listed(items.text_columns)}."
            )
    return ItemTable(items.frame.select("item_id", *text_columns))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows of a table that have a user and an item.

    left_out: how many rows of the table are no longer here, by reason.
    """

    table: Table
    user_ids: pl.Series
    item_ids: pl.Series
    left_out: dict[str, int]
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, table: Table, user: str, item: str, gaps: Gaps) -> "_Rows":
        """Reads the IDs and does with gaps what is asked for.

        Raises:
            ValueError: IDs are missing and no option says what to do then.
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
"""Why rows leave whose time stands for none, as `left_out` says it."""


def lacking(what: str) -> str:
    """Why rows leave that lack a user, an item or a time, as `left_out` says it."""
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
            f"import the table with 'sidestep import lists --items-column {column}'."
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
    """The same IDs with names for those that are missing."""
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
    """Whether IDs lost the .0 with which their column writes them."""
    if column.dtype != pl.String:
        return column.dtype.is_float()
    return bool((column.str.ends_with(".0") & ~ids.str.ends_with(".0")).any())


def _with_missing(items: ItemTable, items_path: Path) -> ItemTable:
    if MISSING_ID in items.item_ids:
        raise ValueError(
            f"{items_path}: an item is called {MISSING_ID!r}, so that rows without an item cannot "
            "be called so; rename it, or leave these rows out with --missing-items drop."
        )
    missing = pl.DataFrame({"item_id": [MISSING_ID]})
    return ItemTable(pl.concat([items.frame, missing], how="diagonal"))


def _as_one_table(
    item_ids: pl.Series, items: ItemTable
) -> tuple[pl.Series, ItemTable, tuple[str, ...]]:
    """Both with the same IDs where one of them writes B1.0 for B1, and a remark on that."""
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


def _name_of(path: Path) -> str:
    """The file's name without its suffixes; pipelines and results make plain names of it."""
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def _refuse_unknown(table: Table, item_ids: pl.Series, items: ItemTable, items_path: Path) -> None:
    is_unknown = ~item_ids.is_in(items.item_ids)
    if is_unknown.any():
        row = is_unknown.arg_max()
        assert row is not None
        num_unknown = item_ids.filter(is_unknown).n_unique()
        raise ValueError(
            f"{table.place(row)}: item {item_ids[row]!r:.60} has no row in {items_path} "
            f"({num_unknown} such items in all); add them there, or drop their interactions."
        )
