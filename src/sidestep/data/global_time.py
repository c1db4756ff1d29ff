"""The split by the clock: everything before one moment trains, the same moment for all users.

So no recommender learns from events that happened after a row to predict. Leave-one-out allows
that, see `time_leak`.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from sidestep.data.clock import moment, unit_of
from sidestep.data.histories import Histories
from sidestep.data.splits import Rows, Split, TrainingPart, rows_at, with_targets

SHARE = 0.1
"""Shares of the interactions for validation and for the test, unless others are asked for."""

Targets = Literal["last", "first", "random", "every", "all"]
"""The target events of a user in a period that become rows.

Every interaction is a target event unless events have weights. "last", "first" and "random" give
one row per user and period. Then rows are independent, as intervals and paired tests require.
"random" draws the row by a hash of the user's ID, so that it depends on nobody else. "every" makes
a row of each target event, with all inputs before it as its history. That is most like a service,
but users with many events weigh much. "all" makes a row of each distinct item of the period, all
with the same history, which ends before the first of these items. So a history has several targets,
as for a page that is made once and shown for a whole period. The mean of HR@k over the rows of a
user is then the user's Recall@k.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """The moments at which training and validation end.

    validation_from: the first moment after training, in the unit of the timestamps.
    test_from: the first moment after validation.
    """

    validation_from: int
    test_from: int

    def __post_init__(self) -> None:
        """Refuses periods that are empty or in the wrong order."""
        if self.validation_from >= self.test_from:
            raise ValueError(
                f"validation must begin before the test, but {self.validation_from} is not before "
                f"{self.test_from}."
            )


def periods_by_share(
    timestamps: Int[np.ndarray, " interactions"], *, validation: float, test: float
) -> Periods:
    """Finds periods with the given shares of all interactions, as nearly as ties allow.

    Interactions of one moment are never separated: they all are in the later period.

    Raises:
        ValueError: the shares leave nothing to train on, or too many interactions share a moment.
    """
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise ValueError(
            f"the shares of validation and test must be above 0 and leave some for training, got "
            f"{validation} and {test}."
        )
    if not len(timestamps):
        raise ValueError("there are no interactions to split.")
    ordered = np.sort(timestamps)
    # The last share of n ordered interactions starts at place n - round(n · share).
    num = len(ordered)
    test_from = int(ordered[num - max(1, round(num * test))])
    validation_from = int(ordered[num - max(1, round(num * (validation + test)))])
    if not ordered[0] < validation_from < test_from:
        raise ValueError(
            f"the timestamps fall on too few moments ({len(np.unique(ordered))}) for shares of "
            f"{validation} and {test}; choose the moments yourself, or larger shares."
        )
    return Periods(validation_from=validation_from, test_from=test_from)


def strategy_in_words(strategy: str) -> str:
    """Writes a strategy for people: the moments of "global-time@1513988260,..." become dates.

    Moments that are not seconds since 1970, or parts of seconds, stay numbers.
    """
    name, _, details = strategy.partition("@")
    if name != "global-time":
        return strategy
    first, second, targets = details.split(",")
    moments = np.array([int(first), int(second)])
    unit = unit_of(moments)
    validation, test = (
        f"{at:,}" if unit is None else f"{moment(int(at), unit):%Y-%m-%d %H:%M}" for at in moments
    )
    kept = "" if targets == "last" else f", targets {targets}"
    return f"global time, validation from {validation}, test from {test}{kept}"


def global_time(
    histories: Histories, periods: Periods, *, targets: Targets = "last", min_context: int = 0
) -> Split:
    """Splits by time: interactions before `validation_from` train, later ones become rows.

    The history of a row is every input of the user before the target, also inputs within the
    period. A target that no input precedes is left out, as in leave-one-out. With "last", "first"
    and "random", the other interactions of a period are no targets, but may be in the history of a
    row. Validation and test have targets of the same kind.
    With "all", the interactions of a period are targets, and never in the history of a row of that
    period. If events have weights, only target events become targets.

    Items without an interaction in training stay in the catalog, and may be targets.

    Sources: the single timeline, Ji et al. 2023 (arXiv:2010.11060) and Meng et al. 2020
    (arXiv:2007.13237); the choice of targets, also a random one, Gusak et al. 2025
    (arXiv:2507.16289). Gusak et al. find that results on the first target agree least with results
    on every target, because a first target follows a longer pause. Results on the last target agree
    well.

    Args:
        histories: complete sequences, oldest first.
        periods: the moments at which training and validation end.
        targets: which interactions of a period become targets.
        min_context: as in `leave_one_out`.

    Raises:
        ValueError: the histories have no timestamps, or a part of the split would be empty.
    """
    times = histories.timestamps
    if times is None:
        raise ValueError(
            "the interactions have no timestamps, so they cannot be split by time; import them "
            "with their times, or split with leave-one-out."
        )
    is_trained = times < periods.validation_from
    is_tested = times >= periods.test_from
    # The timestamps of a user never decrease, so each part is one stretch of a sequence.
    num_trained = _count(is_trained, histories)
    num_asked = _count(~is_tested, histories)
    train = histories.between(np.zeros(len(histories), dtype=np.int64), num_trained)
    train = train.select(np.flatnonzero(num_trained > 0)).used()
    validation = _rows(histories, num_trained, num_asked, targets)
    test = _rows(histories, num_asked, histories.lengths, targets)
    _refuse_empty(train, validation, test, periods, times)
    evaluated = {*validation.histories.user_ids, *test.histories.user_ids}
    return Split(
        train=TrainingPart(
            histories=train, first_target=np.zeros(len(train), dtype=np.int64)
        ).after(min_context),
        validation=validation,
        test=test,
        strategy=with_targets(
            f"global-time@{periods.validation_from},{periods.test_from},{targets}", histories
        ),
        num_training_only=len(histories) - len(evaluated),
    )


def _count(
    is_counted: Bool[np.ndarray, " interactions"], histories: Histories
) -> Int[np.ndarray, " users"]:
    """Number of counted interactions of each user."""
    before = np.concatenate([[0], np.cumsum(is_counted)]).astype(np.int64)
    return np.diff(before[histories.offsets])


def _rows(
    histories: Histories,
    starts: Int[np.ndarray, " users"],
    ends: Int[np.ndarray, " users"],
    targets: Targets,
) -> Rows:
    """Rows with targets from position `starts` to before `ends` of each user."""
    starts = np.maximum(starts, histories.positions_after_inputs(1))  # something must precede
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    positions = np.arange(len(users)) - histories.offsets[:-1][users]
    is_asked = histories.is_target & (positions >= starts[users]) & (positions < ends[users])
    users, positions = users[is_asked], positions[is_asked]
    if targets == "all":
        return _after_one_history(histories, users, positions)
    if targets == "random":
        drawn = _drawn(histories, users)
        users, positions = users[drawn], positions[drawn]
    elif targets != "every":
        is_edge = np.ones(len(users), dtype=bool)
        is_other = users[1:] != users[:-1]
        if targets == "last":
            is_edge[:-1] = is_other
        else:
            is_edge[1:] = is_other
        users, positions = users[is_edge], positions[is_edge]
    return rows_at(histories.select(users), positions)


def _drawn(histories: Histories, users: Int[np.ndarray, " targets"]) -> Int[np.ndarray, " drawn"]:
    """The place of one target of each user among all targets.

    Args:
        histories: complete sequences.
        users: the sequence of each target, ascending.
    """
    asked, first, counts = np.unique(users, return_index=True, return_counts=True)
    keys = [hashlib.blake2b(histories.user_ids[user].encode(), digest_size=8) for user in asked]
    drawn = [
        int.from_bytes(key.digest(), "big") % count
        for key, count in zip(keys, counts.tolist(), strict=True)
    ]
    return np.asarray(first + np.array(drawn, dtype=np.int64), dtype=np.int64)


def _after_one_history(
    histories: Histories,
    users: Int[np.ndarray, " targets"],
    positions: Int[np.ndarray, " targets"],
) -> Rows:
    """A row per user and distinct target item, each with the history before the first target.

    Args:
        histories: complete sequences.
        users: the sequence of each target, ascending.
        positions: the place of each target in its sequence, ascending within a user.
    """
    items = histories.items[histories.offsets[:-1][users] + positions]
    # A repeated item is one target, at its first place in the period.
    pairs = np.stack([users, items], axis=1)
    is_kept = np.zeros(len(users), dtype=bool)
    is_kept[np.unique(pairs, axis=0, return_index=True)[1]] = True
    _, first, row = np.unique(users, return_index=True, return_inverse=True)
    starts = positions[first][row]
    rows = rows_at(histories.select(users), positions, until=starts)
    return rows.select(np.flatnonzero(is_kept))


def _refuse_empty(
    train: Histories,
    validation: Rows,
    test: Rows,
    periods: Periods,
    times: Int[np.ndarray, " interactions"],
) -> None:
    empty = {
        "nothing before validation to train on": not len(train.items),
        "no validation row": not len(validation),
        "no test row": not len(test),
    }
    problems = [problem for problem, is_so in empty.items() if is_so]
    if problems:
        known = f"the timestamps run from {times.min()} to {times.max()}" if len(times) else ""
        raise ValueError(
            f"validation from {periods.validation_from} and test from {periods.test_from} leave "
            f"{' and '.join(problems)}; {known or 'there are no interactions'}."
        )
