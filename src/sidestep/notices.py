"""Notices: sentences and progress that the library tells whoever calls it. It never prints.

A program that wants to show notices in its own way listens to them, as the command line does.
Without a listener, notes go to the logger `sidestep`, warnings to `warnings`, and progress nowhere.
"""

import logging
import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

Report = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is: 0 if nobody knows."""

_LOG = logging.getLogger("sidestep")


def command(*words: object) -> str:
    """A command line of Sidestep as a shell takes it, with quotes where it needs them."""
    return shlex.join(["sidestep", *map(str, words)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Functions that are given every notice.

    note: is given a sentence that is worth knowing; nothing is wrong.
    warn: is given a sentence about something that may not be as the caller means it.
    working: is given the title of long work, which happens within, and yields what is told of it.
    """

    note: Callable[[str], None]
    warn: Callable[[str], None]
    working: Callable[[str], AbstractContextManager[Report]]


_LISTENER = ContextVar[Listener | None]("_LISTENER", default=None)


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Gives all notices of the block to a listener."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)


def note(sentence: str) -> None:
    """Tells a sentence that is worth knowing."""
    listener = _LISTENER.get()
    if listener is None:
        _LOG.info(sentence)
    else:
        listener.note(sentence)


def warn(sentence: str) -> None:
    """Tells a sentence that a caller should read before going on."""
    listener = _LISTENER.get()
    if listener is None:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    else:
        listener.warn(sentence)


@contextmanager
def working(title: str) -> Iterator[Report]:
    """Long work: yields the function that is told how far it is."""
    listener = _LISTENER.get()
    if listener is None:
        yield lambda what, done, total: None
        return
    with listener.working(title) as report:
        yield report


def in_python(sentence: str) -> str:
    """A sentence about commands and their options, about functions and their arguments.

    `--missing-users drop` becomes `missing_users='drop'`, and 'sidestep embed' sidestep.embed.
    """
    sentence = re.sub(
        r"--([a-z][a-z-]*) ([a-z]+)(?=[,.;) ]|$)", lambda m: f"{_argument(m[1])}={m[2]!r}", sentence
    )
    sentence = re.sub(r"--([a-z][a-z-]*)", lambda m: _argument(m[1]), sentence)
    return re.sub(r"'sidestep ([a-z]+)'", r"sidestep.\1", sentence)


@contextmanager
def naming_arguments() -> Iterator[None]:
    """Errors of the block name arguments of functions, and not options of commands."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        message = in_python(str(error))
        if message == str(error):
            raise
        raise type(error)(message) from error


def _argument(option: str) -> str:
    return option.replace("-", "_")
