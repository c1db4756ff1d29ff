"""Locks of folders: a process that writes into a folder keeps other processes out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidestep.files import told_unwritable

LOCK = ".lock"
"""The file that is locked while a process writes into its folder; unlocked, it means nothing."""


@contextmanager
def held(folder: Path, *, refusal: str) -> Iterator[None]:
    """Keeps others out of a folder, which is made where there is none.

    Raises:
        ValueError: somebody else holds it; `refusal` says who, and what to do.
    """
    import filelock  # slow to import: no --help should wait for it

    lock = filelock.FileLock(folder / LOCK)
    try:
        with told_unwritable(folder / LOCK):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ValueError(f"{folder}: {refusal}") from error
    try:
        yield
    finally:
        lock.release()
