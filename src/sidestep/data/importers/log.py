"""Log: interactions as arrays of numbers, so that tens of millions of them fit in memory.

Users and items are numbered while the source is read. Each ID is stored once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from sidestep.data.events import NO_TYPE, event_counts, refuse_unknown_types
from sidestep.data.importers.ids import are_floats, as_whole_numbers
from sidestep.data.importers.times import Times, joined_times, two_units
from sidestep.data.interactions import Duplicates, Interactions, Ties
from sidestep.data.rows import chronological_rows, distinct_rows, k_core_rows, numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinning:
    """Rules for the interactions of a log that are kept, applied in the order of the fields.

    events: types of events that are kept; None keeps all.
    min_value: interactions with a smaller value, or without a value, are left out; None keeps all.
    duplicates: which of a user's interactions with one item are kept.
    by_type: whether interactions of different types are no duplicates of each other.
    k_core: users and items with fewer interactions are left out; None keeps all.
    ties: order of interactions with equal timestamps, as in the file or by item ID.
    """

    events: tuple[str, ...] | None = None
    min_value: float | None = None
    duplicates: Duplicates = "keep"
    by_type: bool = False
    k_core: int | None = None
    ties: Ties = "file"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Log:
    """Interactions in the order of their source.

    users, items: indices into `user_ids` and `item_ids`, which are in order of first appearance.
    timestamps: one per interaction; None if the order of the rows is the order of events.
    values: one per interaction, NaN if unknown; None if all are unknown.
    events: indices into `event_types`; None if no type is known.
    left_out: number of rows of the source that were left out, by reason, in words.
    """

    users: Int[np.ndarray, " rows"]
    items: Int[np.ndarray, " rows"]
    timestamps: Int[np.ndarray, " rows"] | None
    values: Float[np.ndarray, " rows"] | None
    user_ids: pl.Series
    item_ids: pl.Series
    events: Int[np.ndarray, " rows"] | None = None
    event_types: pl.Series | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.users)

    def thinned(self, how: Thinning, name: str) -> "Log":
        """Keeps some interactions, user by user, oldest first.

        Args:
            how: which interactions are kept, and their order.
            name: name of the log, for errors.

        Raises:
            ValueError: if no interaction is left, or if there are no values to compare.
        """
        log = self
        if not len(log):
            why = ", ".join(f"{number} {why}" for why, number in log.left_out.items())
            raise ValueError(f"{name} has no interaction with user, item and time: {why}.")
        if how.events is not None:
            log = log._of_types(how.events)
        if how.min_value is not None:
            if log.values is None:
                raise ValueError(
                    f"{name} has no values that could be at least {how.min_value:g}; name their "
                    "column, or keep all interactions."
                )
            rows = np.flatnonzero(log.values >= how.min_value)
            log = log._kept(rows, too_low(how.min_value))
            if not len(log):
                raise ValueError(f"{name} has no value of {how.min_value:g} or more; choose less.")
        if how.duplicates != "keep":
            things = log._items_by_type() if how.by_type else log.items
            rows = distinct_rows(log.users, things, log.timestamps, how.duplicates)
            log = log._kept(rows, REPEATED)
        if how.k_core is not None:
            rows = k_core_rows(log.users, log.items, how.k_core)
            if not len(rows):
                raise ValueError(f"{name} has no {how.k_core}-core; choose a smaller k.")
            log = log._kept(rows, outside_core(how.k_core))
        by_item = None
        if how.ties == "item":
            by_item = log.item_ids.rank("ordinal").to_numpy()[log.items]
        return log._taken(chronological_rows(log.users, log.timestamps, by_item))

    def used_items(self) -> pl.Series:
        """IDs of the items of the log, in the order in which the source first named them."""
        return self.item_ids.filter(pl.Series(_occurs(self.items, len(self.item_ids))))

    def interactions(self) -> Interactions:
        """The log as a table of IDs."""
        values = None
        if self.values is not None:
            values = pl.Series(self.values, dtype=pl.Float64, nan_to_null=True)
        return Interactions.from_columns(
            user_ids=self.user_ids.gather(pl.Series(self.users)),
            item_ids=self.item_ids.gather(pl.Series(self.items)),
            timestamps=None if self.timestamps is None else pl.Series(self.timestamps),
            events=self._event_texts(),
            values=values,
        )

    def _of_types(self, events: tuple[str, ...]) -> "Log":
        """Keeps the interactions of some types of events."""
        found = self._event_texts()
        if found is None:
            found = pl.repeat(None, len(self), dtype=pl.String, eager=True)
        refuse_unknown_types(events, event_counts(found.alias("event")), "--events")
        rows = np.flatnonzero(found.is_in(events).fill_null(False).to_numpy())
        return self._kept(rows, of_other_type(events))

    def _event_texts(self) -> pl.Series | None:
        """The type of each interaction, null if unknown; None if all types are unknown."""
        if self.events is None or self.event_types is None:
            return None
        texts = self.event_types.gather(pl.Series(self.events))
        return texts.set(texts == NO_TYPE, None)

    def _items_by_type(self) -> Int[np.ndarray, " rows"]:
        """Number of each interaction; equal if both the item and the type of event are equal."""
        if self.events is None or self.event_types is None:
            return self.items
        things: Int[np.ndarray, " rows"] = (
            self.items.astype(np.int64) * len(self.event_types) + self.events
        )
        return things

    def _kept(self, rows: Int[np.ndarray, " kept"], why: str) -> "Log":
        num_left = len(self) - len(rows)
        if not num_left:
            return self
        return replace(self._taken(rows), left_out={**self.left_out, why: num_left})

    def _taken(self, rows: Int[np.ndarray, " kept"]) -> "Log":
        return replace(
            self,
            users=self.users[rows],
            items=self.items[rows],
            timestamps=None if self.timestamps is None else self.timestamps[rows],
            values=None if self.values is None else self.values[rows],
            events=None if self.events is None else self.events[rows],
        )


def of_other_type(events: Sequence[str]) -> str:
    """The reason in `left_out` for interactions whose type of event is not kept."""
    return f"are no event of type {' or '.join(events)}"


REPEATED = "repeat an item of their user"
"""The reason in `left_out` for duplicates."""


def outside_core(k: int) -> str:
    """The reason in `left_out` for interactions that are not in the k-core."""
    return f"are not in the {k}-core"


def too_low(minimum: float) -> str:
    """The reason in `left_out` for interactions with a value below the minimum."""
    return f"have a value below {minimum:g} or none"


class GrowingLog:
    """A log that grows block by block. It numbers the IDs; `log` makes the log of all blocks.

    Args:
        path: file that the blocks are read from, for errors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # As categories, a block takes four bytes per row. Each column needs its own set of
        # categories: the global set would grow with every file that is ever read.
        self._ids = {
            name: pl.Series(name, [], dtype=pl.Categorical(pl.Categories.random()))
            for name in ("user", "item", "event")
        }
        self._has_events = False
        self._times: list[Times] = []
        self._values: list[np.ndarray] = []
        self._left_out: dict[str, int] = {}

    def append(
        self,
        user_ids: pl.Series,
        item_ids: pl.Series,
        timestamps: pl.Series | Times | None = None,
        values: pl.Series | None = None,
        events: pl.Series | None = None,
    ) -> None:
        """Adds rows. Rows without a user, an item or a time are left out and counted.

        All blocks must have timestamps, or none; so with values and events.

        Args:
            user_ids: texts, null if missing.
            item_ids: texts, null if missing.
            timestamps: whole numbers of one unit, or times, which may be finer in one block than in
                another; null if missing.
            values: numbers, null if missing.
            events: types of events, null if missing.
        """
        columns = {"user": user_ids, "item": item_ids}
        if isinstance(timestamps, pl.Series):
            timestamps = Times(timestamps, 0, "numbers")
        if timestamps is not None:
            columns["time"] = timestamps.counts
        frame = pl.DataFrame([column.alias(name) for name, column in columns.items()])
        is_kept = pl.repeat(True, frame.height, eager=True)
        for name in columns:
            is_absent = frame[name].is_null() & is_kept
            if num_absent := int(is_absent.sum()):
                article = "an" if name == "item" else "a"
                why = f"lack {article} {name}"
                self._left_out[why] = self._left_out.get(why, 0) + num_absent
                is_kept &= ~is_absent
        frame = frame.filter(is_kept)
        if events is not None:
            self._has_events = True
            kept = events.filter(is_kept).fill_null(NO_TYPE)
            frame = frame.with_columns(kept.alias("event"))
        for name, ids in self._ids.items():
            if name in frame.columns:
                self._ids[name] = ids.append(frame[name].cast(ids.dtype))
        if timestamps is not None:
            self._times.append(replace(timestamps, counts=frame["time"]))
        if values is not None:
            self._values.append(values.filter(is_kept).fill_null(np.nan).to_numpy())

    def log(self) -> Log:
        """Makes a log of all rows so far."""
        users, user_ids = _numbered(self._ids["user"])
        items, item_ids = _numbered(self._ids["item"])
        values = np.concatenate(self._values) if self._values else None
        events, event_types = None, None
        if self._has_events:
            events, event_types = _numbered(self._ids["event"])
        return Log(
            users=users,
            items=items,
            timestamps=self._timestamps() if self._times else None,
            values=None if values is None or np.isnan(values).all() else values,
            user_ids=user_ids,
            item_ids=item_ids,
            events=events,
            event_types=event_types,
            left_out=dict(self._left_out),
        )

    def _timestamps(self) -> Int[np.ndarray, " rows"]:
        try:
            times = joined_times(self._times)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}.") from error
        if found := two_units(times):
            is_rare, why = found
            raise ValueError(f"{self._path}: the time {times.counts.filter(is_rare)[0]} {why}.")
        return times.counts.to_numpy()


def _numbered(ids: pl.Series) -> tuple[Int[np.ndarray, " rows"], pl.Series]:
    """Numbers IDs in the order of first appearance. Returns the numbers, and the ID of each."""
    numbers, distinct = numbered(ids), ids.unique(maintain_order=True).cast(pl.String)
    if not are_floats(distinct):
        return numbers, distinct
    whole = as_whole_numbers(distinct)  # 41.0 becomes 41, which may be an ID already
    return numbered(whole)[numbers], whole.unique(maintain_order=True)


def _occurs(rows: Int[np.ndarray, " rows"], size: int) -> Bool[np.ndarray, " size"]:
    occurs = np.zeros(size, dtype=bool)
    occurs[rows] = True
    return occurs
