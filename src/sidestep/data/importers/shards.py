"""Shards: Parquet files of one log, read piece by piece, so that only a k-core is in memory.

A log of 10^8 rows does not fit into a small memory, but the k-core of the log may. An engine
(`shard_rows`) leaves rows without an ID out, numbers the users and the items, and keeps the
numbers. Then it counts the rows of each user and item, again and again, until every user and item
that is left has k rows. The memory grows with the users, the items and the rows that stay. Only the
times, and then the values, stand in memory once for all rows, to be checked.

This module judges only logs without oddities. `read_core` returns None for any other log, and the
reader of whole tables judges the log and makes the error or the repair.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from errno import ENOSPC
from functools import partial
from os import strerror
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import polars as pl
from pyarrow.parquet import read_metadata

from sidestep.data.events import NO_TYPE, refuse_unknown_types
from sidestep.data.importers.columns import Table, files_of, kind_of
from sidestep.data.importers.doubts import is_missing_time
from sidestep.data.importers.list_columns import are_bracketed_lists
from sidestep.data.importers.log import Thinning, of_other_type, outside_core, too_low
from sidestep.data.importers.shard_rows import (
    Rows,
    RowsEngine,
    Step,
    collected,
    merged,
    streamed,
)
from sidestep.data.importers.sources import folder_of
from sidestep.data.importers.table_rows import ZERO_TIME, Columns, Gaps, lacking
from sidestep.data.items import ItemTable

_ODD_ID = r"\.0+$|[eE]\+[0-9]+$"
"""Numbers as 41.0 or 1.2E+11. All IDs of a column decide together how these are read."""
_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The rows of a log that may belong to its k-core, with their items.

    table: the rows, in the order of the log; IDs are texts.
    items: the items of the rows, in the order in which the whole log first names them, or in the
        order of the table of items.
    left_out: number of rows of the log that were left out, by reason.
    """

    table: Table
    items: ItemTable
    left_out: dict[str, int]


def read_core(
    path: Path,
    columns: Columns,
    items: ItemTable | None,
    gaps: Gaps,
    thinning: Thinning,
    engine: RowsEngine = streamed,
) -> Core | None:
    """Reads the k-core of a log in Parquet files, after its other filters.

    Duplicates stay in, because finding them needs all rows. So if `thinning` leaves duplicates out,
    the result has all rows of the k-core, and may have more.

    Args:
        path: a Parquet file, a folder of such files, or a pattern of their names.
        columns: the names of the columns.
        items: all items; None takes the items of the log.
        gaps: treatment of rows in which an ID or a time is missing.
        thinning: `events`, `min_value` and `k_core` are used.
        engine: reads the files and counts. Every engine gives the same rows.

    Returns:
        The rows; None if `thinning` has no k-core, if the files are not Parquet, or if anything in
        the files must be refused or repaired.

    Raises:
        ValueError: a time or a value is invalid, with its place; a type of event is unknown; there
            is no k-core; or the disk of temporary files is full.
        ConnectionError: the engine works in other processes, which have ended.
    """
    parts = files_of(path)
    names = columns.all
    if thinning.k_core is None or len({*names}) < len(names) or kind_of(parts[0]) != ".parquet":
        return None
    try:
        plain = _plain(parts, columns)
        if plain is None:
            return None
        with engine(parts, plain) as log:
            shards = _Shards(path=path, parts=parts, columns=columns, items=items)
            return shards.core(log, gaps, thinning)
    except ConnectionError:
        raise
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        if strerror(ENOSPC) in str(error):
            raise ValueError(
                f"{path}: the disk of {gettempdir()} is too full for the numbers of users and "
                "items; name a folder on a larger disk in the variable TMPDIR."
            ) from error
        return None  # a damaged file, which the reader of whole tables names


def not_yet_done(thinning: Thinning) -> Thinning:
    """The rules that `read_core` leaves to its caller."""
    k_core = None if thinning.duplicates == "keep" else thinning.k_core
    return replace(thinning, events=None, min_value=None, k_core=k_core)


def _plain(parts: Sequence[Path], columns: Columns) -> list[pl.Expr] | None:
    """The columns of the log by plain names, IDs as texts; None if a type needs a repair."""
    schemas = [pl.scan_parquet(part, glob=False).collect_schema() for part in parts]
    types = {name: {schema.get(name) for schema in schemas} for name in columns.all}
    if any(len(found) > 1 or None in found for found in types.values()):
        return None
    dtype_of = {name: next(iter(found)) for name, found in types.items()}
    for name in (columns.user, columns.item):
        dtype = dtype_of[name]
        if not (dtype == pl.String or (dtype is not None and dtype.is_integer())):
            return None
    if columns.time is not None:
        dtype = dtype_of[columns.time]
        is_date = isinstance(dtype, pl.Date | pl.Datetime)
        if not (is_date or (dtype is not None and dtype.is_integer())):
            return None
    if columns.value is not None:
        dtype = dtype_of[columns.value]
        if dtype is None or not dtype.is_numeric():
            return None
    if columns.event is not None and dtype_of[columns.event] != pl.String:
        return None
    return [
        pl.col(columns.user).cast(pl.String).alias("user"),
        pl.col(columns.item).cast(pl.String).alias("item"),
        *(
            pl.col(given).alias(name)
            for name, given in _optional(columns).items()
            if given is not None
        ),
    ]


def _optional(columns: Columns) -> dict[str, str | None]:
    return {"time": columns.time, "event": columns.event, "value": columns.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shards:
    """A log in Parquet files. Its rows have the columns row, user, item, time, event and value."""

    path: Path
    parts: Sequence[Path]
    columns: Columns
    items: ItemTable | None

    def core(self, log: Rows, gaps: Gaps, thinning: Thinning) -> Core | None:
        """The k-core; see `read_core`."""
        left_out: dict[str, int] = {}
        named = self._with_ids(log, gaps, left_out)
        if named is not None and self.columns.time is not None:
            named = self._with_times(named, gaps, left_out)
        if named is None:
            return None
        if self.columns.value is not None:
            self._checked(named, "value").numbers(self.columns.value)
        users, items = _distinct(named, "user"), _distinct(named, "item")
        if are_bracketed_lists(items):
            return None
        if self.items is not None and not items.is_in(self.items.frame["item_id"].implode()).all():
            return None
        numbers = named.then(partial(_numbered, users, items)).kept()
        rows = _filtered(numbers, thinning, left_out)
        assert thinning.k_core is not None
        core = _core(rows, thinning.k_core)
        num_rows = _number(rows)
        frame = collected(core).sort("row")
        if not frame.height:
            raise ValueError(f"{self.path} has no {thinning.k_core}-core; choose a smaller k.")
        if num_outside := num_rows - frame.height:
            left_out[outside_core(thinning.k_core)] = num_outside
        return Core(
            table=self._table(frame, users, items),
            items=self._items(items, frame["item"]),
            left_out=left_out,
        )

    def _with_ids(self, log: Rows, gaps: Gaps, left_out: dict[str, int]) -> Rows | None:
        """The rows with a user and an item; None if a gap is refused or kept, or an ID is odd."""
        words = tuple(gaps.words)
        found = merged(log.then(partial(_gaps, words)), _all_gaps).row(0, named=True)
        if found["is_odd"]:
            return None
        for name, policy in (("user", gaps.users), ("item", gaps.items)):
            if found[name] and policy != "drop":
                return None
            if found[name]:
                left_out[lacking(name)] = found[name]
        return log.then(partial(_without_gaps, words))

    def _with_times(self, log: Rows, gaps: Gaps, left_out: dict[str, int]) -> Rows | None:
        """The rows with a time; None if the unit of times depends on rows that may be left out."""
        table = self._checked(log, "time")
        times = table.column(str(self.columns.time))
        if isinstance(times.dtype, pl.Datetime):
            unit = times.dtype.time_unit
            if (times.dt.epoch(unit) % (_PER_SECOND[unit] // 1_000) != 0).any():
                return None
        if gaps.times == "drop":
            moments = table.moments(str(self.columns.time))
            is_zero = is_missing_time(moments.counts)
            if is_zero.any() and not times.dtype.is_integer():
                return None
            numbers = {
                lacking("time"): moments.counts.null_count(),
                ZERO_TIME: int(is_zero.sum()),
            }
            left_out |= {why: number for why, number in numbers.items() if number}
            log = log.then(partial(_with_times, bool(is_zero.any())))
            table = table.kept(moments.counts.is_not_null() & ~is_zero)
        table.times(str(self.columns.time))
        return log

    def _checked(self, log: Rows, name: str) -> Table:
        """One column of all rows, to be checked."""

        def place_of(row: int) -> str:
            return self._place(collected(log.then(partial(_only, "row")))["row"][row])

        given = _optional(self.columns)[name]
        assert given is not None
        column = collected(log.then(partial(_only, name))).rename({name: given})
        return Table(path=self.path, frame=column, place_of=place_of)

    def _place(self, row: int) -> str:
        """Place of a row of the log."""
        part, folder = self.parts[0], folder_of(self.path)
        for part in self.parts:
            num_rows = read_metadata(part).num_rows
            if row < num_rows:
                break
            row -= num_rows
        return f"{'' if folder is None else f'{part.relative_to(folder)}, '}row {row + 1}"

    def _table(self, frame: pl.DataFrame, users: pl.Series, items: pl.Series) -> Table:
        rows = frame["row"]
        columns = [
            users.gather(frame["user"]).alias(self.columns.user),
            items.gather(frame["item"]).alias(self.columns.item),
            *(
                frame[name].alias(given)
                for name, given in _optional(self.columns).items()
                if given is not None
            ),
        ]
        return Table(
            path=self.path,
            frame=pl.DataFrame(columns),
            place_of=lambda row: self._place(rows[row]),
        )

    def _items(self, items: pl.Series, numbers: pl.Series) -> ItemTable:
        is_used = np.zeros(len(items), dtype=bool)
        is_used[numbers.to_numpy()] = True
        used = items.filter(pl.Series(is_used))
        if self.items is None:
            return ItemTable(pl.DataFrame({"item_id": used}))
        return ItemTable(self.items.frame.filter(pl.col("item_id").is_in(used.implode())))


def _distinct(log: Rows, name: str) -> pl.Series:
    """The IDs of a column, in the order of first appearance."""
    first_rows = partial(_first_rows, name)
    return merged(log.then(first_rows), first_rows).sort("row")[name]


def _filtered(rows: Rows, thinning: Thinning, left_out: dict[str, int]) -> Rows:
    """The rows of the types of events and with the values that `thinning` keeps."""
    num_rows = _number(rows)
    filters: list[tuple[str, Step]] = []
    if thinning.events is not None:
        counts = merged(rows.then(_types), partial(_summed, ["event"]))
        ordered = counts.sort(["len", "event"], descending=[True, False])
        refuse_unknown_types(thinning.events, dict(ordered.iter_rows()), "--events")
        filters.append((of_other_type(thinning.events), partial(_of_types, thinning.events)))
    if thinning.min_value is not None:
        filters.append((too_low(thinning.min_value), partial(_at_least, thinning.min_value)))
    for why, step in filters:
        rows = rows.then(step)
        num_kept = _number(rows)
        if num_kept < num_rows:
            left_out[why] = num_rows - num_kept
        num_rows = num_kept
    return rows


def _core(rows: Rows, k: int) -> Rows:
    """The rows of the k-core, in any order. Each turn counts all rows once."""
    core = rows
    while True:
        counts = merged(core.then(_counts), partial(_summed, ["is_item", "number"]))
        is_enough = counts["len"] >= k
        if is_enough.all():
            return core
        core = rows.then(partial(_among, counts.filter(is_enough)))


def _number(rows: Rows) -> int:
    return int(merged(rows.then(_length), partial(_summed, [])).item())


# Steps, which an engine does to one piece at a time. An engine may send them to other processes.


def _lacks(words: Sequence[str]) -> dict[str, pl.Expr]:
    """Tells whether an ID is missing, for users and for items."""
    return {
        name: pl.col(name).is_null()
        | (pl.col(name).str.strip_chars() == "")
        | pl.col(name).is_in([*words])
        for name in ("user", "item")
    }


def _gaps(words: Sequence[str], rows: pl.LazyFrame) -> pl.LazyFrame:
    """Number of rows without a user, and of others without an item; whether an ID is odd."""
    lacks = _lacks(words)
    return rows.select(
        user=lacks["user"].sum(),
        item=(lacks["item"] & ~lacks["user"]).sum(),
        is_odd=pl.col("user", "item").str.contains(_ODD_ID).any().pipe(pl.any_horizontal),
    )


def _all_gaps(gaps: pl.LazyFrame) -> pl.LazyFrame:
    return gaps.select(pl.col("user", "item").sum(), pl.col("is_odd").any())


def _without_gaps(words: Sequence[str], rows: pl.LazyFrame) -> pl.LazyFrame:
    lacks = _lacks(words)
    return rows.filter(~lacks["user"], ~lacks["item"])


def _with_times(drops_zeros: bool, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with a time; with `drops_zeros`, a time of 0 or -1 is none."""
    rows = rows.filter(pl.col("time").is_not_null())
    return rows.filter(~pl.col("time").is_in([0, -1])) if drops_zeros else rows


def _only(name: str, rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select(name)


def _first_rows(name: str, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The first row of each ID."""
    return rows.group_by(name).agg(pl.col("row").min())


def _numbered(users: pl.Series, items: pl.Series, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The numbers of users and items in place of their IDs."""
    return rows.with_columns(
        pl.col(name).cast(pl.Enum(ids)).to_physical().cast(pl.UInt32)
        for name, ids in (("user", users), ("item", items))
    )


def _types(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Number of rows of each type of event."""
    types = pl.col("event").replace("", None).fill_null(NO_TYPE).alias("event")
    return rows.group_by(types).len()


def _of_types(events: Sequence[str], rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(pl.col("event").is_in([*events]))


def _at_least(minimum: float, rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(pl.col("value").cast(pl.Float64) >= minimum)


def _length(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select(pl.len())


def _counts(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Number of rows of each user and of each item."""
    return pl.concat(
        rows.group_by(pl.col(name).alias("number"))
        .len()
        .select(pl.lit(name == "item").alias("is_item"), "number", "len")
        for name in ("user", "item")
    )


def _summed(keys: Sequence[str], counts: pl.LazyFrame) -> pl.LazyFrame:
    """The counts of all pieces, by their keys."""
    total = pl.col("len").sum()
    return counts.group_by(keys).agg(total) if keys else counts.select(total)


def _among(enough: pl.DataFrame, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows whose user and item are both among those that have enough rows."""
    for is_item, name in enumerate(("user", "item")):
        numbers = enough.lazy().filter(pl.col("is_item") == bool(is_item))
        rows = rows.join(numbers.select(pl.col("number").alias(name)), on=name, how="semi")
    return rows
