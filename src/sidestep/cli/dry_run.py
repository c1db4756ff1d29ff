"""`--dry-run`: a long command checks what it can, says what it would do, and writes nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.output import OUT, print_json, say, table
from sidestep.cli.console.working import duration
from sidestep.data.dataset import Dataset

ESTIMATE = "estimated_seconds"
"""Among the sizes of a plan, how long the work will take, by `estimates`."""

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check inputs and options, say what would be done; do nothing."),
]


@dataclass(slots=True)
class Rehearsal:
    """What the dry runs of a pipeline's steps have found so far.

    dataset: that an import would write; None where no import was rehearsed.
    seconds: that the rehearsed steps would take, as far as that was estimated.
    seconds_per_row: of a validation of the last training that was estimated; None before one.
    """

    dataset: Dataset | None = None
    seconds: float = 0.0
    seconds_per_row: float | None = None


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


def would_write(dataset: Dataset) -> None:
    """Leaves the dataset of a dry run to the steps that are rehearsed after it."""
    rehearsal = _REHEARSAL.get()
    if rehearsal is not None:
        rehearsal.dataset = dataset


def would_validate(seconds_per_row: float | None) -> None:
    """Leaves the time that a training validates for to the evaluation that is told after it."""
    rehearsal = _REHEARSAL.get()
    if rehearsal is not None:
        rehearsal.seconds_per_row = seconds_per_row


def tell_plan(
    out: Path,
    sizes: Mapping[str, int | float | str],
    *,
    json: bool,
    if_there: str = "what is there would be replaced",
) -> None:
    """Says what a command would write, after its checks.

    Args:
        out: what it would write.
        sizes: how much work that is, by name; `ESTIMATE` is said as a time.
        json: print JSON instead.
        if_there: what would become of an older output, said only where there is one.
    """
    rehearsal, seconds = _REHEARSAL.get(), sizes.get(ESTIMATE)
    if rehearsal is not None and isinstance(seconds, float):
        rehearsal.seconds += seconds
    is_there = out.exists()
    if json:
        print_json({"dry_run": True, "path": str(out), "exists": is_there, **sizes})
        return
    rows = [
        ["estimated time", f"about {duration(float(size))}"]
        if name == ESTIMATE
        else [name.replace("_", " "), _in_words(size)]
        for name, size in sizes.items()
    ]
    OUT.print(table("What would be done", ["", ""], rows))
    then = f" ({if_there})" if is_there else ""
    say(f"Would write {out}{then}. Nothing was written.")


def _in_words(size: int | float | str) -> str:
    if isinstance(size, str):
        return size
    return f"{size:,}" if isinstance(size, int) else f"{size:.4g}"
