"""Histories: what each user has interacted with, oldest first, as two flat arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from sidestep.padding import NO_ITEM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histories:
    """The past items of some users, laid end to end.

    items: item indices, user after user, each user's oldest first.
    offsets: user `row` owns `items[offsets[row]:offsets[row + 1]]`, which may be empty.
    user_ids: one ID per user.
    timestamps: one per entry of `items`, never falling within a user; None if unknown.
    events: the kind of each interaction as text, "" where unknown; None if unknown everywhere.
    """

    items: Int[np.ndarray, " interactions"]
    offsets: Int[np.ndarray, " users_plus_one"]
    user_ids: tuple[str, ...]
    timestamps: Int[np.ndarray, " interactions"] | None = None
    events: Shaped[np.ndarray, " interactions"] | None = None

    def __post_init__(self) -> None:
        """Refuses offsets that do not divide `items` among the users."""
        if len(self.offsets) != len(self.user_ids) + 1:
            raise ValueError(
                f"{len(self.user_ids)} users need {len(self.user_ids) + 1} offsets, "
                f"got {len(self.offsets)}."
            )
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.items):
            raise ValueError(
                f"offsets must run from 0 to the {len(self.items)} items, "
                f"got {self.offsets[0]} to {self.offsets[-1]}."
            )
        if (np.diff(self.offsets) < 0).any():
            raise ValueError("offsets must never fall.")
        if len(self.items) and self.items.min() < 0:
            raise ValueError(f"item indices start at 0, got {self.items.min()}.")

    @classmethod
    def from_item_ids(
        cls,
        item_ids: Mapping[str, Sequence[str]],
        indices_of: Callable[[Sequence[str]], Int[np.ndarray, " ids"]],
    ) -> tuple["Histories", Int[np.ndarray, " users"]]:
        """Histories from item IDs, as a service receives them.

        Args:
            item_ids: per user ID the IDs of past items, oldest first.
            indices_of: the index of each item, `NO_ITEM` for those that the catalog does not know.

        Returns:
            The histories, and how many items of each user were dropped because they are unknown.
        """
        every = [item_id for ids in item_ids.values() for item_id in ids]
        found = indices_of(every) if every else np.zeros(0, dtype=np.int64)
        users = np.repeat(np.arange(len(item_ids)), [len(ids) for ids in item_ids.values()])
        is_known = found != NO_ITEM
        lengths = np.bincount(users[is_known], minlength=len(item_ids))
        histories = cls(
            items=found[is_known],
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            user_ids=tuple(item_ids),
        )
        return histories, np.bincount(users[~is_known], minlength=len(item_ids))

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def lengths(self) -> Int[np.ndarray, " users"]:
        """Past items per user."""
        return np.diff(self.offsets)

    def of(self, row: int) -> Int[np.ndarray, " items"]:
        """The items of user `row`, oldest first; a view."""
        if not 0 <= row < len(self):
            raise IndexError(f"row must be from 0 to {len(self) - 1}, got {row}.")
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def select(self, rows: Int[np.ndarray, " selected"]) -> "Histories":
        """The users `rows`, in that order."""
        rows = np.arange(len(self))[rows]  # refuses rows out of range, resolves negative ones
        user_ids = tuple(self.user_ids[row] for row in rows)
        return self._slices(self.offsets[:-1][rows], self.offsets[1:][rows], user_ids)

    def between(
        self, starts: Int[np.ndarray, " users"], ends: Int[np.ndarray, " users"]
    ) -> "Histories":
        """The interactions from position `starts` to before `ends` of each user."""
        if (starts < 0).any() or (starts > ends).any() or (ends > self.lengths).any():
            raise ValueError("starts and ends must lie within each history, and not cross.")
        begins = self.offsets[:-1]
        return self._slices(begins + starts, begins + ends, self.user_ids)

    def _slices(
        self,
        starts: Int[np.ndarray, " selected"],
        ends: Int[np.ndarray, " selected"],
        user_ids: tuple[str, ...],
    ) -> "Histories":
        """Histories made of slices of the flat arrays."""
        lengths = ends - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Histories(
            items=self.items[places],
            offsets=offsets,
            user_ids=user_ids,
            timestamps=None if self.timestamps is None else self.timestamps[places],
            events=None if self.events is None else self.events[places],
        )


def padded(
    items: Int[np.ndarray, " interactions"],
    starts: Int[np.ndarray, " rows"],
    lengths: Int[np.ndarray, " rows"],
) -> Int[np.ndarray, "rows width"]:
    """Slices of `items` side by side, `NO_ITEM` after their ends; at least one column wide."""
    width = max(1, int(lengths.max(initial=0)))
    columns = np.arange(width)
    is_item = columns < lengths[:, None]  # [rows, width]
    matrix = np.full((len(starts), width), NO_ITEM, dtype=np.int64)
    # True entries are filled row by row, which is the order in which the slices are laid out.
    matrix[is_item] = items[(starts[:, None] + columns)[is_item]]
    return matrix
