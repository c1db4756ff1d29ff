"""Rows that a pipeline will judge by, and the check that a dataset has them before the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from sidestep.data.dataset import Dataset
from sidestep.data.splits import SplitName
from sidestep.runs.judged_rows import has_rows, without_rows

_NEEDED: ContextVar[SplitName | None] = ContextVar("_NEEDED", default=None)
"""The rows that a pipeline will judge by; None outside of pipelines."""


@contextmanager
def rows_needed(part: SplitName | None) -> Iterator[None]:
    """A block in which `check_judged` refuses a dataset without rows of a part; None: no check."""
    before = _NEEDED.set(part)
    try:
        yield
    finally:
        _NEEDED.reset(before)


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
