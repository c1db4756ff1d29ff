"""Long work shows that it goes on: a bar on a terminal, elsewhere a line now and then.

Trainings show more, see `training_bar`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sidestep.cli.console.output import ERR, say
from sidestep.notices import Report

LINES_S = 30.0
"""Between two lines, where there is no terminal to draw a bar on."""

_MINUTE, _HOUR = 60, 3600


@contextmanager
def working(title: str) -> Iterator[Report]:
    """Shows on the standard error how far work is; what it yields is told.

    Work that tells nothing is seen to go on all the same, with the time that it has taken.
    """
    if not ERR.is_terminal:
        with _lines(title) as report:
            yield report
        return
    columns = (
        *(SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn()),
        *(TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn(compact=True)),
    )
    with Progress(*columns, console=ERR, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(what: str, done: int, total: int) -> None:
            known = total or None
            bar.update(task, description=_named(title, what), completed=done, total=known)

        yield show


def duration(seconds: float) -> str:
    """A time as people say it: 45 s, 3 min, 2 h 10 min."""
    if seconds < 1.5 * _MINUTE:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / _MINUTE)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def _named(title: str, what: str) -> str:
    return f"{title}: {what}" if what else title


@dataclass(slots=True)
class _Going:
    """The state of some work: its present part, and when and from where that part began."""

    title: str
    what: str = ""
    done: int = 0
    total: int = 0
    first: int = 0
    began: float = field(init=False)
    since: float = field(init=False)

    def __post_init__(self) -> None:
        """Begins now."""
        self.began = self.since = time.monotonic()

    def told(self, what: str, done: int, total: int) -> None:
        if (what, total) != (self.what, self.total) or done < self.done:
            self.since, self.first = time.monotonic(), done
        self.what, self.done, self.total = what, done, total

    def line(self) -> str:
        now = time.monotonic()
        parts = [_named(self.title, self.what)]
        if self.total:
            parts.append(f"{self.done:,} of {self.total:,}")
        parts.append(f"{duration(now - self.began)} so far")
        if self.total and self.done > self.first:
            rate = (now - self.since) / (self.done - self.first)
            parts.append(f"about {duration(rate * (self.total - self.done))} left")
        return f"{' · '.join(parts)}."


@contextmanager
def _lines(title: str) -> Iterator[Report]:
    """Says where the work is every `LINES_S` seconds, also while it tells nothing."""
    going, is_over = _Going(title), threading.Event()

    def say_now_and_then() -> None:
        while not is_over.wait(LINES_S):
            say(going.line())

    teller = threading.Thread(target=say_now_and_then, daemon=True)
    teller.start()
    try:
        yield going.told
    finally:
        is_over.set()
        teller.join()
