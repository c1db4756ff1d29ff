"""Errors in one line: mistakes that a message explains, and bugs of ours."""

import traceback
from pathlib import Path

from pydantic_core import ValidationError

from sidestep.files import UNWRITABLE, UnwritableError, unwritable_number
from sidestep.import_paths import own_frame
from sidestep.runs.problems import plain_problem


def is_mistake(error: Exception) -> bool:
    """Whether the message of an exception is written for users."""
    if isinstance(error, ImportError):
        return error.name is None  # ours name an extra; Python's own name a module
    known = (ValueError, KeyError, OSError, FloatingPointError)
    is_known = isinstance(error, known) or unwritable_number(error) is not None
    return is_known or _is_out_of_memory(error)


def _is_out_of_memory(error: Exception) -> bool:
    # torch has no exception of its own for the CPU's memory.
    words = ("allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def message_of(error: Exception) -> str:
    """The message of an exception, in one line."""
    if isinstance(error, ValidationError):
        problems = (
            f"{'.'.join(map(str, problem['loc'])) or error.title}: {plain_problem(problem)}"
            for problem in error.errors()
        )
        return "; ".join(problems)
    if _is_out_of_memory(error):
        reason = str(error).partition("\n")[0]
        return (
            "out of memory; lower the batch size, the beams or the budget of a search, or the size "
            f"of the model ({reason})."
        )
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # str() of a KeyError is its repr
    if isinstance(error, UnwritableError):
        return str(error)
    if (number := unwritable_number(error)) is not None:
        path = getattr(error, "filename", None)
        return f"{path}: {UNWRITABLE[number]}" if path is not None else UNWRITABLE[number]
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"{error.filename}: permission denied; change its permissions, or name another path."
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}; check the path."
    return str(error) or type(error).__name__


def message_of_mistake(error: Exception) -> str | None:
    """The message of a mistake, in one line; None for a bug of ours.

    Code of the user's own may raise anything. The message then names the line of that code.
    """
    frame = own_frame(error)
    if frame is not None:
        return (
            f"{_first_line(error)} ({frame.filename}, line {frame.lineno}). This is your own code; "
            "'sidestep --debug …' shows the way there."
        )
    return message_of(error) if is_mistake(error) else None


def place_of_bug(error: Exception) -> str:
    """The place that an exception came from, and the remedy."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{_first_line(error)} ({Path(frame.filename).name}, line {frame.lineno}). This should not "
        "happen: run it again as 'sidestep --debug …' and report what it prints."
    )


def _first_line(error: Exception) -> str:
    message = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {message or 'no message'}"
