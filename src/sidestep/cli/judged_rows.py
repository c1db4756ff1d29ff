"""Rows to judge by: whether a dataset has any, asked before the work that would be judged."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from sidestep.cli.console import command, warn
from sidestep.data.dataset import Dataset
from sidestep.data.splits import LEAVE_ONE_OUT, Rows, Split, SplitName

_NEEDED: ContextVar[SplitName | None] = ContextVar("_NEEDED", default=None)
"""The rows that a pipeline will judge by; None outside of pipelines."""

_LEAVE_ONE_OUT_MIN = 3
"""Interactions of a user of whom leave-one-out holds some out."""


@contextmanager
def rows_needed(part: SplitName | None) -> Iterator[None]:
    """Lets `check_judged` refuse a dataset without such rows: all work on it would be in vain."""
    before = _NEEDED.set(part)
    try:
        yield
    finally:
        _NEEDED.reset(before)


def rows_of(split: Split, part: SplitName) -> Rows:
    """The rows of a part of a split."""
    return split.validation if part == "validation" else split.test


def check_judged(dataset: Dataset, folder: Path) -> None:
    """Refuses a dataset that has no rows of the kind that a pipeline will judge by.

    Args:
        dataset: as it is or will be stored.
        folder: where, for the remedy.

    Raises:
        ValueError: there are none; says what to do.
    """
    needed = _NEEDED.get()
    if needed is not None and not _has_rows(dataset, needed):
        raise ValueError(_without_rows(dataset, folder, needed))


def warn_of_no_rows(dataset: Dataset, folder: Path) -> None:
    """Says so where a dataset has neither rows to choose by nor rows to judge by."""
    if not _has_rows(dataset, "validation") and not _has_rows(dataset, "test"):
        warn(_without_rows(dataset, folder, "test"))


def no_rows(split: Split, part: SplitName) -> str:
    """What to say of a split that has no rows of a part, and what to do."""
    if split.strategy == LEAVE_ONE_OUT:
        return (
            f"there are no {part} rows: leave-one-out holds out the last two interactions of every "
            "user who has three or more, and no user has; split by time with 'sidestep data split "
            "DATASET --strategy global-time', or import more interactions per user."
        )
    return (
        f"there are no {part} rows in the split {split.strategy} of this dataset; make another "
        "with 'sidestep data split'."
    )


def _has_rows(dataset: Dataset, part: SplitName) -> bool:
    if dataset.split is not None:
        return len(rows_of(dataset.split, part)) > 0
    counts = dataset.interactions.frame["user_id"].value_counts()["count"]
    return len(counts) > 0 and int(counts.to_numpy().max()) >= _LEAVE_ONE_OUT_MIN


def _without_rows(dataset: Dataset, folder: Path, part: SplitName) -> str:
    if dataset.split is not None and dataset.split.strategy != LEAVE_ONE_OUT:
        return f"{folder}: {no_rows(dataset.split, part)}"
    is_timed = dataset.interactions.frame["timestamp"].null_count() == 0
    by_time = (
        f"split by time, with {command('data', 'split', folder, '--strategy', 'global-time')} or "
        "in a pipeline with the section 'split: {strategy: global-time}', or "
    )
    return (
        f"{folder}: no user has three interactions or more, so that leave-one-out leaves no rows "
        f"to validate or to test by; {by_time if is_timed else ''}import more interactions per "
        "user."
    )
