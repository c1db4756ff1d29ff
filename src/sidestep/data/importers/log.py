"""Log: interactions as arrays of numbers, the form in which tens of millions of them fit in memory.

Users and items are numbered while the source is read; their IDs are kept once each.
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
    """What of a log is kept, applied in the order of the fields, and how it is ordered.

    events: the types of events that stay; None keeps all.
    min_value: interactions with a smaller value, or without one, leave; None keeps all.
    duplicates: which of a user's interactions with one item stay.
    by_type: whether interactions of different types are no duplicates of each other.
    k_core: users and items with fewer interactions leave; None keeps all.
    ties: the order of equal timestamps, as in the file or by item ID.
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

    users, items: rows of `user_ids` and `item_ids`, in the order of first appearance.
    timestamps: None if the order of the rows is the order of events.
    values: NaN where unknown; None if unknown everywhere.
    events: rows of `event_types`; None if no type is known.
    left_out: how many rows of the source are no longer here, by reason, in words.
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
        """What is kept of it, user by user, oldest first.

        Args:
            how: what to keep.
            name: of the log, for errors.

        Raises:
            ValueError: if nothing is left, or if there are no values to compare.
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
        """The IDs of the items that occur, in the order in which the source named them first."""
        return self.item_ids.filter(pl.Series(_occurs(self.items, len(self.item_ids))))

    def interactions(self) -> Interactions:
        """The same as a table of IDs."""
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
        """The interactions of some types of events."""
        found = self._event_texts()
        if found is None:
            found = pl.repeat(None, len(self), dtype=pl.String, eager=True)
        refuse_unknown_types(events, event_counts(found.alias("event")), "--events")
        rows = np.flatnonzero(found.is_in(events).fill_null(False).to_numpy())
        return self._kept(rows, of_other_type(events))

    def _event_texts(self) -> pl.Series | None:
        """The type of each interaction, null where unknown; None if unknown everywhere."""
        if self.events is None or self.event_types is None:
            return None
        texts = self.event_types.gather(pl.Series(self.events))
        return texts.set(texts == NO_TYPE, None)

    def _items_by_type(self) -> Int[np.ndarray, " rows"]:
        """Numbers that are equal where both the item and the type of the event are."""
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
    """Why interactions leave whose type of event is not kept, as `left_out` says it."""
    return f"are no event of type {' or '.join(events)}"


REPEATED = "repeat an item of their user"
"""Why duplicates leave, as `left_out` says it."""


def outside_core(k: int) -> str:
    """Why interactions leave that are not in the k-core, as `left_out` says it."""
    return f"are not in the {k}-core"


def too_low(minimum: float) -> str:
    """Why interactions leave that have a smaller value, as `left_out` says it."""
    return f"have a value below {minimum:g} or none"


class GrowingLog:
    """Takes columns of IDs a block at a time and numbers them; `log` is what has come together.

    Args:
        path: the file they are read from, for errors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # As categories a block takes four bytes a row. Each needs a set of categories of its own:
        # the global one would grow with every file that is ever read.
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
        """Adds rows; those without a user, an item or a time are left out and counted.

        Args:
            user_ids: texts, null where missing.
            item_ids: likewise.
            timestamps: whole numbers of one unit, or times that may be finer in one block than in
                another; null where missing; in every block or in none.
            values: numbers, null where missing; likewise.
            events: types of events, null where missing; likewise.
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
        """Everything so far, as a log."""
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
    """Numbers in the order of first appearance, and the ID of each number."""
    numbers, distinct = numbered(ids), ids.unique(maintain_order=True).cast(pl.String)
    if not are_floats(distinct):
        return numbers, distinct
    whole = as_whole_numbers(distinct)  # 41.0 becomes 41, which may be there already
    return numbered(whole)[numbers], whole.unique(maintain_order=True)


def _occurs(rows: Int[np.ndarray, " rows"], size: int) -> Bool[np.ndarray, " size"]:
    occurs = np.zeros(size, dtype=bool)
    occurs[rows] = True
    return occurs
