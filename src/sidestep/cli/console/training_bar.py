"""The progress of a training: a bar on a terminal, elsewhere a line per epoch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from sidestep.cli.console.output import ERR, say
from sidestep.launch import Launch
from sidestep.training.config import VALIDATION_METRIC
from sidestep.training.progress import Progress

_DRIFT = ("HR@1", "HR@50")
"""Metrics beside the one that decides: training may sharpen the top of a list and ruin the rest."""


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on the standard error while training; yields the function that moves the bar.

    Where the standard error is no terminal, one plain line per epoch stands for the bar.
    """
    if not ERR.is_terminal:
        yield _epoch_lines(title)
        return
    bar = ProgressBar(
        TextColumn("[bold]{task.fields[title]}"),
        BarColumn(bar_width=8),
        TextColumn("{task.description}"),
        TimeRemainingColumn(compact=True),
        console=ERR,
        refresh_per_second=4,
        disable=not Launch.of_environment().is_first,
    )
    with bar:
        task = bar.add_task("", total=None, title=title, visible=False)
        last_told = ""

        def report(progress: Progress) -> None:
            nonlocal last_told
            # Above the bar, which has no room for it.
            watched = _watched(progress)
            if watched not in ("", last_told):
                bar.console.print(f"{title}: step {progress.step} · {watched}")
            last_told = watched
            bar.update(
                task,
                total=progress.num_steps,
                completed=progress.step,
                description=_described(progress),
                visible=True,
            )

        yield report


def _epoch_lines(title: str) -> Callable[[Progress], None]:
    """Prints a line at the end of each epoch."""
    last_step: int | None = None

    def report(progress: Progress) -> None:
        nonlocal last_step
        told = progress
        if progress.validated_epoch != progress.epoch:  # an old validation says nothing new
            told = replace(progress, score=None, metrics={})
        described = " · ".join(filter(None, (_described(told), _watched(told))))
        # A step is told once, and the end of an epoch again after its validation.
        if progress.step == last_step:
            say(f"{title}: epoch {described} · {progress.seconds:.0f} s")
        last_step = progress.step

    return report


def _described(progress: Progress) -> str:
    parts = [f"{progress.epoch}/{progress.num_epochs}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.targets_per_s is not None:
        parts.append(f"{progress.targets_per_s:,.0f} targets/s")
    if progress.score is not None:
        parts.append(f"{VALIDATION_METRIC} {progress.score:.4f}")
    return " · ".join(parts)


def _watched(progress: Progress) -> str:
    """The figures that the objective watches, and metrics of whole lists; empty for most kinds."""
    watched = dict(progress.parts)
    if not watched:
        return ""
    parts = []
    candidates = watched.pop("candidates", None)
    if candidates is not None and progress.targets_per_s is not None:
        parts.append(f"{candidates * progress.targets_per_s:,.0f} rollouts/s")
    parts += [f"{name.replace('_', ' ')} {value:.3g}" for name, value in watched.items()]
    parts += [f"{name} {progress.metrics[name]:.4f}" for name in _DRIFT if name in progress.metrics]
    return " · ".join(parts)
