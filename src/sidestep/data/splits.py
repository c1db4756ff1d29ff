"""Splits: which interactions are for training, which rows for validation and which for test.

A split is explicit: every evaluated row is a history and the one item that follows it. If events
have weights, the history holds only inputs and the item is a target event, see `EventWeights`. The
strategy says how a split was made; later code does not depend on it. Splits by the clock are made
in `global_time`, splits of rows from a file in `given_rows`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
from jaxtyping import Bool, Int

from sidestep.data.categories import Categories
from sidestep.data.frames import content_sha256, load_frames, save_frames
from sidestep.data.histories import Histories

LEAVE_ONE_OUT = "leave-one-out"
"""The strategy of datasets without a split of their own."""

NOTHING_HELD_OUT = "nothing-held-out"
"""The strategy for production, in which a recommender learns from all interactions."""

SplitName = Literal["validation", "test"]
"""Name of the rows on which a recommender is evaluated."""

GIVEN = "given"
"""The strategy of a split that came with the data."""

_WEIGHTS = ("target_weights", "input_weights")
"""Weights of histories, if events have weights; a split keeps them."""


def is_repeat(
    histories: Histories, targets: Int[np.ndarray, " users"]
) -> Bool[np.ndarray, " users"]:
    """Mask of the targets that are in their history.

    Args:
        histories: one per target.
        targets: item indices.
    """
    rows = np.repeat(np.arange(len(targets)), histories.lengths)
    is_found = np.zeros(len(targets), dtype=bool)
    is_found[rows[histories.items == targets[rows]]] = True
    return is_found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows to evaluate: histories, each with the item that the user took next.

    targets: index of the item that followed each history.
    times: time of the target, in the unit of the timestamps; None if unknown.
    """

    histories: Histories
    targets: Int[np.ndarray, " users"]
    times: Int[np.ndarray, " users"] | None = None

    def __post_init__(self) -> None:
        """Refuses targets that do not belong to the histories."""
        if len(self.targets) != len(self.histories):
            raise ValueError(
                f"{len(self.histories)} histories need as many targets, got {len(self.targets)}."
            )
        if len(self.targets) and self.targets.min() < 0:
            raise ValueError(f"targets are item indices from 0 on, got {self.targets.min()}.")

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def is_repeat(self) -> Bool[np.ndarray, " users"]:
        """Mask of the targets that are in their history: the user had taken the item before."""
        return is_repeat(self.histories, self.targets)

    def select(self, rows: Int[np.ndarray, " selected"]) -> "Rows":
        """The given rows, in that order."""
        return Rows(
            histories=self.histories.select(rows),
            targets=self.targets[rows],
            times=None if self.times is None else self.times[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingPart:
    """The training part of a split: everything that a recommender may learn from.

    histories: sequences of events that are targets, inputs, or both.
    first_target: first position of each sequence that is predicted. Positions before it are context
        only; so are later positions that are no target event. It equals the length of the sequence
        if no position is predicted.
    """

    histories: Histories
    first_target: Int[np.ndarray, " users"]

    def __post_init__(self) -> None:
        """Refuses first targets outside the sequences."""
        if len(self.first_target) != len(self.histories):
            raise ValueError(
                f"{len(self.histories)} sequences need as many first targets, "
                f"got {len(self.first_target)}."
            )
        lengths = self.histories.lengths
        is_wrong = (self.first_target < 0) | (self.first_target > lengths)
        if is_wrong.any():
            row = int(is_wrong.argmax())
            raise ValueError(
                f"first target {self.first_target[row]} of row {row} lies outside its sequence of "
                f"{lengths[row]} items."
            )

    def __len__(self) -> int:
        return len(self.histories)

    @property
    def num_targets(self) -> int:
        """Number of positions that are predicted."""
        return self._num_targets(self.first_target, self.histories.lengths)

    def fingerprint(self) -> str:
        """Hash of the item sequences, in their order, and of the event weights.

        The hash does not depend on the names of users, on times, or on which positions are
        predicted.
        """
        digest = hashlib.sha256(b"training part\n")
        for array in (self.histories.offsets, self.histories.items):
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        for name in _WEIGHTS:
            weights = getattr(self.histories, name)
            if weights is not None:
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(weights, dtype="<f8").data)
        return digest.hexdigest()

    @property
    def num_first_targets(self) -> int:
        """Number of positions that are predicted from an empty history."""
        return self._num_targets(self.first_target, self.histories.positions_after_inputs(1))

    def _num_targets(
        self, starts: Int[np.ndarray, " users"], ends: Int[np.ndarray, " users"]
    ) -> int:
        """Number of positions from `starts` to before `ends` that are predicted."""
        between = self.histories.between(np.minimum(starts, ends), ends)
        return int(between.is_target.sum())

    def after(self, min_context: int) -> "TrainingPart":
        """Makes a copy in which at least `min_context` inputs precede every target."""
        if min_context < 0:
            raise ValueError(f"min_context must not be negative, got {min_context}.")
        enough = self.histories.positions_after_inputs(min_context)
        return replace(self, first_target=np.maximum(self.first_target, enough))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """A split of a dataset: a training part, validation rows and test rows.

    strategy: how the split was made, for results files. If two splits of one dataset differ in
        their rows, they differ in their strategy.
    num_training_only: number of users without an evaluated row.
    """

    train: TrainingPart
    validation: Rows
    test: Rows
    strategy: str
    num_training_only: int = 0

    @property
    def max_item(self) -> int:
        """The highest item index in any part; -1 if there are no items."""
        parts = (self.train.histories, self.validation.histories, self.test.histories)
        arrays = [part.items for part in parts] + [self.validation.targets, self.test.targets]
        return max(int(array.max(initial=-1)) for array in arrays)

    @property
    def scales_inputs(self) -> bool:
        """Whether an input has another weight than 1. Not every network can read such inputs."""
        parts = (self.train.histories, self.validation.histories, self.test.histories)
        return any(part.inputs().input_weights is not None for part in parts)

    def with_users(self, categories_of: Callable[[Sequence[str]], Categories]) -> "Split":
        """A copy whose histories have the categories of their users.

        Args:
            categories_of: gives the categories of users by their IDs.
        """

        def known(histories: Histories) -> Histories:
            return replace(histories, user_categories=categories_of(histories.user_ids))

        return replace(
            self,
            train=replace(self.train, histories=known(self.train.histories)),
            validation=replace(self.validation, histories=known(self.validation.histories)),
            test=replace(self.test, histories=known(self.test.histories)),
        )

    def fingerprint(self) -> str:
        """Hash of the split. Equal splits have equal hashes, however they are stored."""
        digest = hashlib.sha256(self.strategy.encode())
        for frame in self._frames().values():
            digest.update(content_sha256(frame).encode())
        return digest.hexdigest()

    def save(self, path: Path, *, of: Mapping[str, str] | None = None) -> None:
        """Writes the split as a folder of parquet files, whole or not at all.

        Args:
            path: the folder.
            of: identity of the dataset of the split, such as its hashes.
        """
        description = {
            "strategy": self.strategy,
            "num_training_only": self.num_training_only,
            "of": None if of is None else dict(of),
        }
        save_frames(path, "split", self._frames(), description)

    @classmethod
    def load(cls, path: Path, *, of: Mapping[str, str] | None = None) -> "Split":
        """Reads what `save` wrote.

        Args:
            path: the folder.
            of: identity of the dataset, as given to `save`; None accepts the split of any dataset.

        Raises:
            ValueError: if a file is damaged, belongs to another split, or the split belongs to
                another dataset.
        """
        frames, description = load_frames(
            path, "split", ("train", "validation", "test"), ("strategy", "num_training_only")
        )
        if of is not None and description.get("of") != dict(of):
            raise ValueError(
                f"{path}: this is the split of another dataset, or of an older state of this one; "
                "make it again with 'sidestep data split', or delete the folder."
            )
        train, validation, test = frames["train"], frames["validation"], frames["test"]
        return cls(
            train=TrainingPart(
                histories=_histories(train),
                first_target=train["first_target"].to_numpy(writable=True),
            ),
            validation=_rows(validation),
            test=_rows(test),
            strategy=description["strategy"],
            num_training_only=description["num_training_only"],
        )

    def _frames(self) -> dict[str, pl.DataFrame]:
        return {
            "train": _frame(self.train.histories, first_target=self.train.first_target),
            "validation": _frame(
                self.validation.histories,
                target=self.validation.targets,
                time=self.validation.times,
            ),
            "test": _frame(self.test.histories, target=self.test.targets, time=self.test.times),
        }


def leave_one_out(histories: Histories, *, min_context: int = 0) -> Split:
    """Leave-one-out: each user's last target is for test, the one before for validation.

    Every interaction is a target unless events have weights. The history of a row is every input
    before its target, uncut. The training part of a user is everything before the validation
    target. Events between the validation target and the test target are only in the history of the
    test row. Users with fewer than two targets, or without an input before the first of their last
    two targets, are for training only; such users are counted. Without weights, these are the users
    with fewer than three interactions. The test history contains the validation target, as is
    usual (SASRec, arXiv:1808.09781, section IV.B).

    This split leaks time: a recommender learns from events after the test targets of other users,
    see `time_leak`. The split of `global_time` does not leak.

    Args:
        histories: complete sequences, oldest first.
        min_context: a training position is predicted only if at least so many inputs precede it.
            Zero also trains the empty history. One, the usual value, leaves out each user's first
            item. Then a network learns nothing about users without a history, and recommends
            nonsense to them.
    """
    places = np.flatnonzero(histories.is_target)
    ends = np.searchsorted(places, histories.offsets[1:])
    has_two = np.diff(np.searchsorted(places, histories.offsets)) >= 2
    held_out = histories.offsets[1:]  # where validation begins, for users who are evaluated
    if len(places) >= 2:
        held_out = np.where(has_two, places[ends - 2], held_out)
    validated = held_out - histories.offsets[:-1]  # [users]
    is_evaluated = has_two & (validated >= histories.positions_after_inputs(1))
    nothing = np.zeros(len(histories), dtype=np.int64)
    train = histories.between(nothing, np.where(is_evaluated, validated, histories.lengths)).used()
    users = np.flatnonzero(is_evaluated)
    evaluated = histories.select(users)
    tested = places[ends[users] - 1] - histories.offsets[:-1][users]
    return Split(
        train=TrainingPart(histories=train, first_target=nothing).after(min_context),
        validation=rows_at(evaluated, validated[users]),
        test=rows_at(evaluated, tested),
        strategy=with_targets(LEAVE_ONE_OUT, histories),
        num_training_only=int((~is_evaluated).sum()),
    )


def nothing_held_out(histories: Histories) -> Split:
    """Makes the split for production: every interaction trains, and no row is held out.

    Args:
        histories: complete sequences, oldest first.
    """
    first = np.zeros(len(histories), dtype=np.int64)
    nobody = histories.select(np.zeros(0, dtype=np.int64))
    none = Rows(
        histories=nobody,
        targets=np.zeros(0, dtype=np.int64),
        times=None if histories.timestamps is None else np.zeros(0, dtype=np.int64),
    )
    return Split(
        train=TrainingPart(histories=histories.used(), first_target=first),
        validation=none,
        test=none,
        strategy=with_targets(NOTHING_HELD_OUT, histories),
        num_training_only=len(histories),
    )


def with_targets(strategy: str, histories: Histories) -> str:
    """Adds the types of events that are held out to the strategy, unless all types are."""
    if histories.target_weights is None or histories.events is None:
        return strategy
    names = np.unique(histories.events[histories.is_target])
    return f"{strategy} of {'+'.join(name or 'no type' for name in names.tolist())}"


def rows_at(
    histories: Histories,
    positions: Int[np.ndarray, " users"],
    *,
    until: Int[np.ndarray, " users"] | None = None,
) -> Rows:
    """Rows with each user's item at `positions` as target, and the inputs before it as history.

    Args:
        histories: complete sequences.
        positions: positions of the targets.
        until: the position at which the history of each row ends; None ends it at the target.
    """
    places = histories.offsets[:-1] + positions
    ends = positions if until is None else until
    return Rows(
        histories=histories.between(np.zeros(len(histories), dtype=np.int64), ends).inputs(),
        targets=histories.items[places],
        times=None if histories.timestamps is None else histories.timestamps[places],
    )


def from_given_rows(
    *,
    training: Histories,
    validation: Rows,
    test: Rows,
    first_target: Int[np.ndarray, " users"] | None = None,
) -> Split:
    """Makes a split from parts that someone else has split; the parts are not changed.

    Args:
        training: sequences for training.
        validation: rows for validation.
        test: rows for test.
        first_target: see `TrainingPart`; None predicts all items.
    """
    if first_target is None:
        first_target = np.zeros(len(training), dtype=np.int64)
    evaluated = {*validation.histories.user_ids, *test.histories.user_ids}
    return Split(
        train=TrainingPart(histories=training, first_target=first_target),
        validation=validation,
        test=test,
        strategy=GIVEN,
        num_training_only=len(set(training.user_ids) - evaluated),
    )


def _frame(histories: Histories, **extra: Int[np.ndarray, " users"] | None) -> pl.DataFrame:
    """Makes a frame with one row per user, its sequence as a list. None in `extra` is left out."""
    columns = {
        "user_id": pl.Series(histories.user_ids, dtype=pl.String),
        "items": _lists(histories.items.astype(np.int64), histories.offsets),
    }
    if histories.timestamps is not None:
        columns["timestamps"] = _lists(histories.timestamps.astype(np.int64), histories.offsets)
    if histories.events is not None:
        columns["events"] = _lists(histories.events, histories.offsets)
    for name in _WEIGHTS:
        weights = getattr(histories, name)
        if weights is not None:
            columns[name] = _lists(weights.astype(np.float64), histories.offsets)
    known = {name: column for name, column in extra.items() if column is not None}
    return pl.DataFrame(
        {**columns, **{name: column.astype(np.int64) for name, column in known.items()}}
    )


def _lists(flat: np.ndarray, offsets: Int[np.ndarray, " users_plus_one"]) -> pl.Series:
    values = pa.array(flat) if flat.dtype.kind in "if" else pa.array(flat.tolist(), pa.string())
    return pl.Series(pa.LargeListArray.from_arrays(pa.array(offsets), values))


def _rows(frame: pl.DataFrame) -> Rows:
    return Rows(
        histories=_histories(frame),
        targets=frame["target"].to_numpy(writable=True),
        times=frame["time"].to_numpy(writable=True) if "time" in frame.columns else None,
    )


def _histories(frame: pl.DataFrame) -> Histories:
    def flat(name: str) -> np.ndarray | None:
        if name not in frame.columns:
            return None
        # polars 1 explodes an empty list into a null, polars 2 into nothing.
        return frame[name].filter(frame[name].list.len() > 0).explode().to_numpy(writable=True)

    items = flat("items")
    assert items is not None
    events = flat("events")
    return Histories(
        items=items,
        offsets=np.concatenate([[0], frame["items"].list.len().to_numpy().cumsum()]).astype(
            np.int64
        ),
        user_ids=tuple(frame["user_id"]),
        timestamps=flat("timestamps"),
        events=None if events is None else events.astype(np.str_),
        target_weights=flat("target_weights"),
        input_weights=flat("input_weights"),
    )
