"""Rows that a pipeline will judge by, and the check that a dataset has them before the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from sidestep.data.dataset import Dataset
from sidestep.data.splits import SplitName
from sidestep.runs.judged_rows import has_rows, without_rows

_NEEDED: ContextVar[SplitName | None] = ContextVar("_NEEDED", default=None)
"""The rows that a pipeline will judge by; None outside of pipelines, and before a split."""

_SPLIT_LATER: ContextVar[bool] = ContextVar("_SPLIT_LATER", default=False)
"""Whether a later step of a pipeline splits the dataset."""


@contextmanager
def rows_needed(part: SplitName | None) -> Iterator[None]:
    """A step of a pipeline, in which `check_judged` refuses a dataset without rows of a part.

    Args:
        part: the rows; None where a later step splits the dataset.
    """
    before, later_before = _NEEDED.set(part), _SPLIT_LATER.set(part is None)
    try:
        yield
    finally:
        _NEEDED.reset(before)
        _SPLIT_LATER.reset(later_before)


def is_split_later() -> bool:
    """Whether a later step of a pipeline splits the dataset that is made now."""
    return _SPLIT_LATER.get()


def check_judged(dataset: Dataset, folder: Path) -> None:
    """Refuses a dataset that has no rows of the kind that a pipeline will judge by.

    Args:
        dataset: as it is or will be stored.
        folder: where, for the remedy.

    Raises:
        ValueError: there are none; says what to do.
    """
    needed = _NEEDED.get()
    if needed is not None and not has_rows(dataset, needed):
        raise ValueError(without_rows(dataset, folder, needed))
