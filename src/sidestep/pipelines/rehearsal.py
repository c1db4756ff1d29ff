"""Findings of the dry runs of a pipeline's steps, for the steps after them: a dataset and times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.data import dataset as datasets


@dataclass(slots=True)
class Rehearsal:
    """The findings of the dry runs of a pipeline's steps so far.

    dataset: the dataset that an import would write; None where no import was rehearsed.
    seconds: the estimated time of the rehearsed steps.
    seconds_per_row: of a validation of the last training that was estimated; None before one.
    has_own_space: whether the codes that a rehearsed step would make span a code space of a user's
        own. Random codes may not span such a space.
    stands_for: the folder that a dry run is told instead of a folder with other contents, and that
        other folder.
    """

    dataset: datasets.Dataset | None = None
    seconds: float = 0.0
    seconds_per_row: float | None = None
    has_own_space: bool = False
    stands_for: dict[Path, Path] = field(default_factory=dict)


_REHEARSAL: ContextVar[Rehearsal | None] = ContextVar("_REHEARSAL", default=None)


@contextmanager
def rehearsing() -> Iterator[Rehearsal]:
    """Collects what the dry runs within it find."""
    found = Rehearsal()
    before = _REHEARSAL.set(found)
    try:
        yield found
    finally:
        _REHEARSAL.reset(before)


def would_write(dataset: datasets.Dataset) -> None:
    """Leaves the dataset of a dry run to the steps that are rehearsed after it."""
    rehearsal = _REHEARSAL.get()
    if rehearsal is not None:
        rehearsal.dataset = dataset


def would_stand_for(elsewhere: Path, place: Path) -> None:
    """Notes that a dry run is told one folder instead of another."""
    rehearsal = _REHEARSAL.get()
    if rehearsal is not None:
        rehearsal.stands_for[elsewhere] = place


def meant(path: Path) -> Path:
    """The path that a dry run means: in the folder that its own folder stands for."""
    rehearsal = _REHEARSAL.get()
    for elsewhere, place in ({} if rehearsal is None else rehearsal.stands_for).items():
        if path.is_relative_to(elsewhere):
            return place / path.relative_to(elsewhere)
    return path


def would_validate(seconds_per_row: float | None) -> None:
    """Leaves the time of a validation row to the evaluation that is rehearsed afterwards."""
    rehearsal = _REHEARSAL.get()
    if rehearsal is not None:
        rehearsal.seconds_per_row = seconds_per_row


def would_take(seconds: float) -> None:
    """Adds the time that the work of a dry run would take."""
    rehearsal = _REHEARSAL.get()
    if rehearsal is not None:
        rehearsal.seconds += seconds
