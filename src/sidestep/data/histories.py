"""Histories: the items that each user has interacted with, oldest first, as two flat arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from sidestep.data.categories import Categories
from sidestep.padding import NO_ITEM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histories:
    """The past items of some users, laid end to end.

    items: item indices, user after user, each user's oldest first.
    offsets: user `row` owns `items[offsets[row]:offsets[row + 1]]`, which may be empty.
    user_ids: one ID per user.
    timestamps: one per entry of `items`; those of a user never decrease. None if unknown.
    events: the type of each interaction as text, "" if unknown; None if all types are unknown.
    target_weights: weight of each interaction as a target, a factor of its loss. An interaction of
        weight 0 is never predicted. None: all weigh 1.
    input_weights: weight of each interaction as an input, a factor of its vector. An interaction of
        weight 0 is never read. None: all weigh 1.
    user_categories: the categories of each user, as numbers of the vocabulary of the recommender
        that reads them; None if nothing is known of the users.
    """

    items: Int[np.ndarray, " interactions"]
    offsets: Int[np.ndarray, " users_plus_one"]
    user_ids: tuple[str, ...]
    timestamps: Int[np.ndarray, " interactions"] | None = None
    events: Shaped[np.ndarray, " interactions"] | None = None
    target_weights: Float[np.ndarray, " interactions"] | None = None
    input_weights: Float[np.ndarray, " interactions"] | None = None
    user_categories: Categories | None = None

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
        if self.user_categories is not None and len(self.user_categories) != len(self):
            raise ValueError(
                f"{len(self)} users need as many categories, got {len(self.user_categories)}."
            )

    @classmethod
    def from_item_ids(
        cls,
        item_ids: Mapping[str, Sequence[str]],
        indices_of: Callable[[Sequence[str]], Int[np.ndarray, " ids"]],
        *,
        timestamps: Sequence[Sequence[int]] | None = None,
    ) -> tuple["Histories", Int[np.ndarray, " users"]]:
        """Histories from item IDs, as a service receives them.

        Args:
            item_ids: IDs of past items, oldest first, by user ID.
            indices_of: gives the index of each item, `NO_ITEM` if the catalog does not know it.
            timestamps: times of these items by user ID; None if unknown.

        Returns:
            The histories, and the number of items of each user that were dropped as unknown.
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
            timestamps=None if timestamps is None else _flat(timestamps)[is_known],
        )
        return histories, np.bincount(users[~is_known], minlength=len(item_ids))

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def lengths(self) -> Int[np.ndarray, " users"]:
        """Number of past items of each user."""
        return np.diff(self.offsets)

    def of(self, row: int) -> Int[np.ndarray, " items"]:
        """The items of user `row`, oldest first; a view."""
        if not 0 <= row < len(self):
            raise IndexError(f"row must be from 0 to {len(self) - 1}, got {row}.")
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    @property
    def is_target(self) -> Bool[np.ndarray, " interactions"]:
        """Mask of the interactions that may be predicted."""
        return _is_counted(self.target_weights, len(self.items))

    @property
    def is_input(self) -> Bool[np.ndarray, " interactions"]:
        """Mask of the interactions that may be read."""
        return _is_counted(self.input_weights, len(self.items))

    @property
    def largest_weights(self) -> Float[np.ndarray, " interactions"] | None:
        """The larger of the two weights of each interaction; None: all weigh 1."""
        if self.target_weights is None or self.input_weights is None:
            known = self.target_weights if self.input_weights is None else self.input_weights
            return None if known is None else known.clip(min=1.0)
        larger: Float[np.ndarray, " interactions"] = np.maximum(
            self.target_weights, self.input_weights
        )
        return larger

    def inputs(self) -> "Histories":
        """The interactions that a recommender reads: those whose weight as an input is above 0."""
        read = replace(self, target_weights=None)
        if self.input_weights is None:
            return read
        read = read.kept(self.is_input)
        assert read.input_weights is not None
        return replace(read, input_weights=None) if (read.input_weights == 1).all() else read

    def used(self) -> "Histories":
        """The interactions that count as a target, as an input, or as both."""
        if self.target_weights is None or self.input_weights is None:
            return self
        return self.kept(self.is_target | self.is_input)

    def positions_after_inputs(self, number: int) -> Int[np.ndarray, " users"]:
        """First position of each user that `number` inputs precede; the length if there is none."""
        if self.input_weights is None:
            return self.lengths.clip(max=number)
        num_so_far = np.cumsum(self.is_input) - self.is_input
        before_user = np.append(0, np.cumsum(self.is_input))[self.offsets[:-1]]
        num_before = num_so_far - np.repeat(before_user, self.lengths)
        return self._counts(num_before < number)

    def kept(self, is_kept: Bool[np.ndarray, " interactions"]) -> "Histories":
        """Histories of all users with some of their interactions."""
        offsets = np.concatenate([[0], np.cumsum(self._counts(is_kept))]).astype(np.int64)
        return self._taken(np.flatnonzero(is_kept), offsets, self.user_ids, self.user_categories)

    def select(self, rows: Int[np.ndarray, " selected"]) -> "Histories":
        """The users `rows`, in that order."""
        rows = np.arange(len(self))[rows]  # refuses rows out of range, resolves negative ones
        user_ids = tuple(self.user_ids[row] for row in rows)
        known = self.user_categories
        return self._slices(
            self.offsets[:-1][rows],
            self.offsets[1:][rows],
            user_ids,
            None if known is None else known.select(rows),
        )

    def between(
        self, starts: Int[np.ndarray, " users"], ends: Int[np.ndarray, " users"]
    ) -> "Histories":
        """The interactions from position `starts` to before `ends` of each user."""
        if (starts < 0).any() or (starts > ends).any() or (ends > self.lengths).any():
            raise ValueError("starts and ends must lie within each history, and not cross.")
        begins = self.offsets[:-1]
        return self._slices(begins + starts, begins + ends, self.user_ids, self.user_categories)

    def _slices(
        self,
        starts: Int[np.ndarray, " selected"],
        ends: Int[np.ndarray, " selected"],
        user_ids: tuple[str, ...],
        user_categories: Categories | None,
    ) -> "Histories":
        """Makes histories of slices of the flat arrays."""
        lengths = ends - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return self._taken(places, offsets, user_ids, user_categories)

    def _taken(
        self,
        places: Int[np.ndarray, " kept"],
        offsets: Int[np.ndarray, " selected_plus_one"],
        user_ids: tuple[str, ...],
        user_categories: Categories | None,
    ) -> "Histories":
        """Makes histories of some entries of the flat arrays."""

        def some(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[places]

        return Histories(
            items=self.items[places],
            offsets=offsets,
            user_ids=user_ids,
            timestamps=some(self.timestamps),
            events=some(self.events),
            target_weights=some(self.target_weights),
            input_weights=some(self.input_weights),
            user_categories=user_categories,
        )

    def _counts(self, is_counted: Bool[np.ndarray, " interactions"]) -> Int[np.ndarray, " users"]:
        """Number of counted interactions of each user."""
        before = np.concatenate([[0], np.cumsum(is_counted)]).astype(np.int64)
        return np.diff(before[self.offsets])


def _flat(rows: Sequence[Sequence[int]]) -> Int[np.ndarray, " entries"]:
    return np.array([entry for row in rows for entry in row], dtype=np.int64)


def _is_counted(
    weights: Float[np.ndarray, " interactions"] | None, size: int
) -> Bool[np.ndarray, " interactions"]:
    """Mask of the weights above 0; True everywhere if there are no weights."""
    return np.ones(size, dtype=bool) if weights is None else weights > 0


def padded(
    items: Int[np.ndarray, " interactions"],
    starts: Int[np.ndarray, " rows"],
    lengths: Int[np.ndarray, " rows"],
) -> Int[np.ndarray, "rows width"]:
    """Slices of `items` as rows, with `NO_ITEM` after their ends; at least one column wide."""
    return _side_by_side(items, starts, lengths, np.int64(NO_ITEM))


def padded_weights(
    weights: Float[np.ndarray, " interactions"],
    starts: Int[np.ndarray, " rows"],
    lengths: Int[np.ndarray, " rows"],
) -> Float[np.ndarray, "rows width"]:
    """The slices of `weights` that belong to those of `padded`: float32, 0 after their ends."""
    return _side_by_side(weights, starts, lengths, np.float32(0))


def padded_gaps(
    timestamps: Int[np.ndarray, " interactions"],
    starts: Int[np.ndarray, " rows"],
    lengths: Int[np.ndarray, " rows"],
    moments: Int[np.ndarray, " rows"] | None = None,
) -> Float[np.ndarray, "rows width"]:
    """The gap after each entry of the slices of `padded`, as float32; NaN after their ends.

    Args:
        timestamps: of the entries.
        starts: of the slices.
        lengths: of the slices.
        moments: what the last gap of each slice lasts until; None leaves it unknown, NaN.
    """
    times = _side_by_side(timestamps, starts, lengths, np.int64(0))
    gaps = np.full(times.shape, np.nan, dtype=np.float32)
    is_inner = np.arange(times.shape[1] - 1) < lengths[:, None] - 1
    # Differences of whole numbers are exact; as float32 they keep seven digits.
    gaps[:, :-1][is_inner] = np.diff(times, axis=1)[is_inner]
    if moments is not None:
        rows = np.flatnonzero(lengths > 0)
        last = lengths[rows] - 1
        gaps[rows, last] = moments[rows] - times[rows, last]
    return gaps


def _side_by_side(
    flat: np.ndarray,
    starts: Int[np.ndarray, " rows"],
    lengths: Int[np.ndarray, " rows"],
    padding: np.generic,
) -> np.ndarray:
    width = max(1, int(lengths.max(initial=0)))
    columns = np.arange(width)
    is_entry = columns < lengths[:, None]  # [rows, width]
    matrix = np.full((len(starts), width), padding)
    # A mask fills its True entries row by row; the slices are in the same order.
    matrix[is_entry] = flat[(starts[:, None] + columns)[is_entry]]
    return matrix
