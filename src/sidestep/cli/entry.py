"""The start of the process: so light that Ctrl-C is understood before anything heavy is imported.

Not the commands themselves: those are in `main`, and each is loaded when it is asked for.
"""

import importlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sidestep.cli.allocator import keep_freed_memory
from sidestep.lazy_imports import import_within, importing

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main() -> None:
    """Runs the command line."""
    keep_freed_memory()
    import_within(leaving_at_once)
    with importing():
        run = importlib.import_module("sidestep.cli.main").main
    run()


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Ends the process on Ctrl-C without a word of Python, for blocks that only import.

    An exception would not do: extension modules turn it into errors of their own or swallow it.
    Nothing has been written while modules load, so nothing is lost. A Ctrl-C that the process
    ignores, as in a shell's background job, stays ignored.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main_thread = threading.current_thread() is threading.main_thread()
    if before is not signal.default_int_handler or not is_main_thread:
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"Stopped.\n")
    os._exit(INTERRUPTED)
