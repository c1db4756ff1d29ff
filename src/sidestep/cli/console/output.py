"""The output of commands: tables for people, JSON for scripts, one red line for mistakes."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidestep.launch import Launch

_PIPED_WIDTH = 160

_IS_QUIET = not Launch.of_environment().is_first
"""The first process of a launch speaks for all; the others only tell errors of their own."""

OUT = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, quiet=_IS_QUIET)
"""Results; in a file or a pipe no table is squeezed into the 80 columns of a terminal."""

ERR = Console(stderr=True, quiet=_IS_QUIET)
"""Progress and errors, so that results can be piped."""

_SAID = ContextVar[set[str] | None]("_SAID", default=None)
"""The warnings that a pipeline has said; None outside of pipelines."""

_WORDS_WIDTH = 10
"""Words give way to numbers down to this many columns; less could not be read."""

_NUMBER = re.compile(r"[-+]?[\d.,e]*(?: ?– ?[\d.]+)?")


def say(sentence: str | Text, *, then: str | None = None) -> None:
    """One line on the standard error, left whole so that its paths and commands can be copied.

    Args:
        sentence: or several.
        then: the command to give next, see `next_step`; a pipeline gives it itself.
    """
    if then is not None and _SAID.get() is None:
        sentence = f"{sentence} Next: {then}"
    ERR.print(sentence, highlight=False, markup=False, soft_wrap=True)


def say_wrong(what: str, reason: str) -> None:
    """One red line on the standard error, also of a process that otherwise leaves it to the first.

    Args:
        what: went wrong: "Error" or "Bug".
        reason: what a user should know.
    """
    launch = Launch.of_environment()
    if launch.is_shared:
        what = f"{what} in process {launch.index + 1} of {launch.count}"
    sentence = Text(f"{what}: ", style="bold red") + Text(reason, style="red")
    console = Console(stderr=True) if _IS_QUIET else ERR
    console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def note(sentence: str) -> None:
    """Says something worth knowing."""
    say(f"Note: {sentence}")


def warn(sentence: str) -> None:
    """Says what a user should know; within a pipeline once, however many of its steps say it."""
    said = _SAID.get()
    if said is not None and sentence in said:
        return
    say(f"Warning: {sentence}")
    if said is not None:
        said.add(sentence)


@contextmanager
def within_pipeline() -> Iterator[None]:
    """Leaves out what to do next, which a pipeline does already, and what it has warned of."""
    before = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(before)


def print_json(value: Any) -> None:
    """One JSON document, and nothing else, on the standard output."""
    if not _IS_QUIET:
        print(json.dumps(value, indent=2, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose numbers stand to the right and stay whole; words give way."""
    made = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    for index, column in enumerate(columns):
        cells = [row[index] for row in rows]
        longest = max(map(len, [column, *cells]))
        is_numbers = index > 0 and all(_NUMBER.fullmatch(cell) for cell in cells)
        made.add_column(
            Text(column),
            justify="right" if is_numbers else "left",
            no_wrap=is_numbers,
            min_width=longest if is_numbers else min(longest, _WORDS_WIDTH),
            overflow="fold",
        )
    for row in rows:
        made.add_row(*map(Text, row))
    return made
