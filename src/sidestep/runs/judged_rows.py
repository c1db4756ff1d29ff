"""Rows to judge by: how many, and what is said of a dataset that has none, or that leaks time."""

from pathlib import Path

from sidestep.data.dataset import Dataset
from sidestep.data.splits import LEAVE_ONE_OUT, Rows, Split, SplitName
from sidestep.data.time_leak import time_leak
from sidestep.notices import command, warn

_LEAVE_ONE_OUT_MIN = 3
"""The fewest interactions of a user of whom leave-one-out holds some out."""


def rows_of(split: Split, part: SplitName) -> Rows:
    """The rows of a part of a split.

    Raises:
        ValueError: there is no such part.
    """
    if part not in ("validation", "test"):
        raise ValueError(f"split: there is no {part!r:.60}; there are validation and test.")
    return split.validation if part == "validation" else split.test


def warn_of_no_rows(dataset: Dataset, folder: Path) -> None:
    """Warns of a dataset that has neither rows of validation nor rows of the test.

    Args:
        dataset: as it is or will be stored.
        folder: its folder, for the remedy.
    """
    if not has_rows(dataset, "validation") and not has_rows(dataset, "test"):
        warn(without_rows(dataset, folder, "test"))


def warn_of_leak(split: Split, dataset: Path) -> None:
    """Warns of a split that trains on interactions from after its test targets, and says how many.

    Args:
        split: of the dataset.
        dataset: its folder, for the remedy.
    """
    leak = time_leak(split)
    if leak is not None and leak.rows > 0:
        warn(
            f"{split.strategy} leaks time: for {leak.rows:.1%} of the test rows there is "
            f"training data from after the target, on average {leak.interactions:.1%} of it, so "
            "results may not hold in use. To learn from the past alone: "
            + command("data", "split", dataset, "--strategy", "global-time")
        )


def no_rows(split: Split, part: SplitName) -> str:
    """The sentence about a split that has no rows of a part, and the remedy."""
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


def has_rows(dataset: Dataset, part: SplitName) -> bool:
    """Whether a dataset has rows of a part, by its own split, else by leave-one-out."""
    if dataset.split is not None:
        return len(rows_of(dataset.split, part)) > 0
    counts = dataset.interactions.frame["user_id"].value_counts()["count"]
    return len(counts) > 0 and int(counts.to_numpy().max()) >= _LEAVE_ONE_OUT_MIN


def without_rows(dataset: Dataset, folder: Path, part: SplitName) -> str:
    """The sentence about a stored dataset that has no rows of a part, and the remedy."""
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


def num_users(text: str) -> int | None:
    """The number of users that `--users` asks for; None for all.

    Raises:
        ValueError: for anything else.
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--users {text!r}: write 'all' or a number from 1.")
    return int(text)
