"""Failures of a launch: the first process that fails says why, and the others are quiet.

Processes tell each other of failures in the store by which the launcher brings them together.
"""

import os
from contextlib import suppress
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from sidestep.launch import Launch

_TOLD_WITHIN = timedelta(seconds=10)
"""The time that a process waits for the words of the process that failed before it."""


def is_first_to_fail() -> bool:
    """Whether this process, which fails, has to say why.

    The failures of the other processes mostly follow from the first one. They wait until the reason
    is told, because a launcher ends all processes once one is gone. Where the processes cannot
    reach each other, each says why it failed.
    """
    store = _store()
    if store is None or store.add(_key("failed"), 1) == 1:
        return True
    # Where the first one is ended before it can speak, its launcher says so.
    with suppress(RuntimeError):
        store.wait([_key("told")], _TOLD_WITHIN)
    return False


def say_that_it_is_told() -> None:
    """Lets the other processes of the launch end, once this one has said why it failed."""
    store = _store()
    if store is not None:
        store.set(_key("told"), "yes")


def _store() -> TCPStore | None:
    """The store of the launch; None where this process is alone or cannot reach the store."""
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    if not Launch.of_environment().is_shared or host is None or not port.isdecimal():
        return None
    try:
        return TCPStore(host, int(port), timeout=_TOLD_WITHIN)
    except RuntimeError:
        return None


def _key(event: str) -> str:
    """The name of an event of this start of the processes; a launcher may start them again."""
    return f"sidestep/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{event}"
