"""Interactions: which user did something with which item, and when.

The order of the rows counts: it is the order of events if timestamps do not decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Int

from sidestep.data.rows import chronological_rows, distinct_rows, k_core_rows, numbered

SCHEMA = pl.Schema(
    {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "timestamp": pl.Int64(),
        "event": pl.String(),
        "value": pl.Float64(),
    }
)
"""Columns of `Interactions.frame`. Timestamps keep the unit of their source: only order counts."""

Ties = Literal["file", "item"]
"""Order of interactions of one user with the same timestamp.

"file": the order of the rows. "item": the order of item IDs as text, so that the result does not
depend on the order of the rows. Amazon's timestamps are whole days, so ties are common there, and
the choice changes test items.
"""

Duplicates = Literal["keep", "first", "last"]
"""Policy for several interactions of one user with one item: keep all, the oldest, the newest."""


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """A validated table of interactions.

    frame: the columns of `SCHEMA`, in that order. IDs are never null or empty. `timestamp` is
        known in all rows or in none. `event` and `value` may be null.

    Raises:
        ValueError: on construction, if `frame` is anything else; the message names column and row.
    """

    frame: pl.DataFrame

    def __post_init__(self) -> None:
        """Refuses a frame that does not follow the schema."""
        missing = [name for name in SCHEMA if name not in self.frame.columns]
        if missing:
            raise ValueError(
                f"interactions lack the columns {missing}; there are {self.frame.columns}. "
                "Interactions.from_columns fills the optional ones."
            )
        if self.frame.columns != list(SCHEMA):
            raise ValueError(
                f"interactions must have the columns {list(SCHEMA)} in this order, "
                f"got {self.frame.columns}."
            )
        for name, dtype in SCHEMA.items():
            if self.frame.schema[name] != dtype:
                raise ValueError(
                    f"column {name!r} of interactions must be {dtype}, "
                    f"got {self.frame.schema[name]}; cast it first."
                )
        for name in ("user_id", "item_id"):
            is_absent = self.frame[name].is_null() | (self.frame[name] == "")
            if is_absent.any():
                raise ValueError(f"{name} is missing in row {is_absent.arg_max()}; drop that row.")
        num_unknown = self.frame["timestamp"].null_count()
        if 0 < num_unknown < self.frame.height:
            row = self.frame["timestamp"].is_null().arg_max()
            raise ValueError(
                f"timestamp is missing in {num_unknown} of {self.frame.height} rows, first in row "
                f"{row}; give every row one, or none."
            )
        if not self.frame["value"].is_finite().all():
            row = (~self.frame["value"].is_finite()).fill_null(False).arg_max()
            raise ValueError(f"value is not a finite number in row {row}; use null if unknown.")

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def from_columns(
        cls,
        *,
        user_ids: Sequence[object] | pl.Series,
        item_ids: Sequence[object] | pl.Series,
        timestamps: Sequence[object] | pl.Series | None = None,
        events: Sequence[object] | pl.Series | None = None,
        values: Sequence[object] | pl.Series | None = None,
    ) -> "Interactions":
        """Makes interactions from equally long columns. Absent columns are filled with nulls.

        The element types must be those of `SCHEMA`; this method checks them.

        Raises:
            ValueError: if a column mixes types or has another type than `SCHEMA` says, or if the
                columns differ in length.
        """
        given = {
            "user_id": user_ids,
            "item_id": item_ids,
            "timestamp": timestamps,
            "event": events,
            "value": values,
        }
        columns = []
        for name, dtype in SCHEMA.items():
            column = given[name]
            if column is None:
                columns.append(pl.repeat(None, len(user_ids), dtype=dtype, eager=True).alias(name))
            elif isinstance(column, pl.Series):
                columns.append(column.alias(name))
            else:
                try:
                    columns.append(pl.Series(name, column, dtype=dtype, strict=True))
                except (TypeError, pl.exceptions.PolarsError) as error:
                    raise ValueError(f"column {name!r} must be all {dtype}: {error}") from error
        lengths = {column.name: len(column) for column in columns}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of interactions differ in length: {lengths}.")
        return cls(pl.DataFrame(columns))


def chronological(interactions: Interactions, ties: Ties = "file") -> Interactions:
    """Sorts interactions user by user, the oldest interaction of each user first.

    Users are in the order in which they first appear. Without timestamps, the order of the rows is
    the order of events, whatever `ties` is.
    """
    frame = interactions.frame
    by_item = frame["item_id"].rank("dense").to_numpy() if ties == "item" else None
    rows = chronological_rows(numbered(frame["user_id"]), _timestamps(frame), by_item)
    return Interactions(frame[rows])


def deduplicated(
    interactions: Interactions, policy: Duplicates, *, by_type: bool = False
) -> Interactions:
    """Keeps one interaction per user and item, in the order of the rows.

    Args:
        interactions: the interactions.
        policy: "keep" changes nothing; "first" keeps the oldest, "last" the newest. If two
            interactions have the same timestamp or none, the earlier row counts as older.
        by_type: whether one interaction of each type of event is kept: a purchase is no repetition
            of a view.
    """
    if policy == "keep":
        return interactions
    frame = interactions.frame
    users, things = numbered(frame["user_id"]), numbered(frame["item_id"])
    if by_type:
        types = numbered(frame["event"].fill_null(""))
        things = things.astype(np.int64) * (int(types.max()) + 1) + types
    return Interactions(frame[distinct_rows(users, things, _timestamps(frame), policy)])


def k_core(interactions: Interactions, k: int) -> Interactions:
    """The largest part in which every user and every item has at least `k` interactions.

    Every repeated interaction of a user with an item counts. Deduplicate first if repetitions
    should not count. The result may be empty.
    """
    frame = interactions.frame
    rows = k_core_rows(numbered(frame["user_id"]), numbered(frame["item_id"]), k)
    return Interactions(frame[rows])


def _timestamps(frame: pl.DataFrame) -> Int[np.ndarray, " rows"] | None:
    return None if frame["timestamp"].has_nulls() else frame["timestamp"].to_numpy()
