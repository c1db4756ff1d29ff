"""The progress of an import: by the bytes of each file, or by the clock alone."""

import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from sidestep.cli.console.output import ERR
from sidestep.cli.console.working import working
from sidestep.data.importers.lines import OnProgress, Reading

_P = ParamSpec("_P")
_R = TypeVar("_R")


@contextmanager
def reading_bar() -> Iterator[OnProgress]:
    """A bar of the bytes read of each file, and its lines per second."""
    if not ERR.is_terminal:
        with working("reading") as tell:
            yield lambda reading: tell(reading.path.name, reading.bytes_read, reading.bytes_total)
        return
    bar = ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rate]} lines/s"),
        TimeRemainingColumn(),
        console=ERR,
        transient=True,
    )
    tasks = {}
    started = {}
    with bar:

        def report(reading: Reading) -> None:
            path = reading.path
            if path not in tasks:
                started[path] = clock.perf_counter()
                tasks[path] = bar.add_task(path.name, total=reading.bytes_total, rate="…")
            elapsed = clock.perf_counter() - started[path]
            rate = f"{reading.num_lines / elapsed:,.0f}" if elapsed > 0 else "…"
            bar.update(tasks[path], completed=reading.bytes_read, rate=rate)

        yield report


def shown_working(work: Callable[_P, _R], title: str = "reading") -> Callable[_P, _R]:
    """Work with a clock on the screen, as the work itself tells no progress."""

    @wraps(work)
    def shown(*arguments: _P.args, **settings: _P.kwargs) -> _R:
        with working(title):
            return work(*arguments, **settings)

    return shown
