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
"""A function that is told of long work: what is being done, how much of it is done, and how much
there is, or 0 if nobody knows."""

_LOG = logging.getLogger("sidestep")

_FUNCTIONS = (
    *("align", "compare", "embed", "evaluate", "pull", "push", "tokenize", "train", "tune"),
)
"""The commands that `import sidestep` offers as functions of the same name."""

_OTHERWISE_NAMED = {"search-option": "options", "no-users": "users=False"}
"""Options whose argument has another name."""

_QUOTATION = re.compile(r"('sidestep [^']*'|`[^`]*`)")
_FUNCTION = re.compile(rf"'sidestep ({'|'.join(_FUNCTIONS)})(?: --([a-z-]+))?'")
_OPTION = re.compile(r"(?<![^\s(])--([a-z][a-z-]*)")
_WITH_VALUE = re.compile(_OPTION.pattern + r" ([a-z]+)(?=[,;)]|\.?$|\.\s)")


def command(*words: object) -> str:
    """A command line of Sidestep as a shell takes it, with quotes where it needs them."""
    return shlex.join(["sidestep", *map(str, words)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Functions that are given every notice.

    note: is given a sentence that is worth knowing; nothing is wrong.
    warn: is given a sentence about something that may not be as the caller means it.
    working: is given the title of long work, and makes a context. The work happens within it, and
        tells its progress to the function that the context yields.
    """

    note: Callable[[str], None]
    warn: Callable[[str], None]
    working: Callable[[str], AbstractContextManager[Report]]


_LISTENER = ContextVar[Listener | None]("_LISTENER", default=None)


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """A block whose notices all go to a listener."""
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
    """A context for long work; yields the function that is told how far the work is."""
    listener = _LISTENER.get()
    if listener is None:
        yield lambda what, done, total: None
        return
    with listener.working(title) as report:
        yield report


def in_python(sentence: str) -> str:
    """Rewrites a sentence about commands and options into one about functions and arguments.

    `--missing-users drop.` becomes `missing_users='drop'.`, and 'sidestep embed' sidestep.embed.
    Commands that are no functions, code in backticks, and paths stay as they are.
    """
    # The parts between quotations, then quotations, in turn.
    parts = _QUOTATION.split(sentence)
    parts[::2] = [_naming_arguments(part) for part in parts[::2]]
    parts[1::2] = [_as_function(part) for part in parts[1::2]]
    return "".join(parts)


@contextmanager
def naming_arguments() -> Iterator[None]:
    """Errors of the block name arguments of functions, and not options of commands."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        message = in_python(str(error))
        if message == str(error):
            raise
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(message) from error


def _naming_arguments(words: str) -> str:
    """Options become arguments; the last word of a clause is the value of the option before it."""
    words = _WITH_VALUE.sub(lambda found: f"{_argument(found[1])}={found[2]!r}", words)
    words = _OPTION.sub(lambda found: _argument(found[1]), words)
    return words.replace("the option", "the argument")


def _as_function(quotation: str) -> str:
    found = _FUNCTION.fullmatch(quotation)
    if found is None:
        return quotation
    function, option = found.groups()
    return f"sidestep.{function}" + (f"({_argument(option)}=...)" if option else "")


def _argument(option: str) -> str:
    return _OTHERWISE_NAMED.get(option, option.replace("-", "_"))
