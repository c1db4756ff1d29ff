"""Ctrl-C and SIGTERM as a question the loop asks, so that a step is never cut in half."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether somebody asked the process to stop."""

    def __init__(self) -> None:
        self.is_requested = False


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Catches the first SIGINT or SIGTERM of the block; the second acts as it always did.

    A signal that the process ignores (SIGINT, in a shell's background job) stays ignored. Only the
    main thread receives signals; in any other the block runs as if nothing were caught.
    """
    asked = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }

    def restore() -> None:
        for number, handler in before.items():
            # None: a handler that was not installed from Python cannot be put back from here.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def ask(number: int, frame: FrameType | None) -> None:
        asked.is_requested = True
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()
