"""The state that the workers of one service share: a small file, written whole.

An engine looks at the file before and after every batch, which costs a system call. So an
item that one process makes unavailable appears in no later answer of another process.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestep.files import read_json, write_json

Mark = tuple[int, int, int]
"""A value that changes with the file of a state: its inode, its time and its size."""

_LOG = logging.getLogger("sidestep.service")


class State(BaseModel):
    """The bundle and the items by which a service answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    """The bundle, or the run that holds it."""

    previous: Path | None = None
    """The bundle of before the last reload; None where there is none to go back to."""

    generation: int = Field(0, ge=0)
    """Grows with every reload. A bundle may be replaced in its place."""

    unavailable: frozenset[str] = frozenset()
    """IDs of items that no list holds, beside the retired items of the bundle."""


class SharedState:
    """The state in a file, for several processes at once."""

    def __init__(self, file: Path) -> None:
        """Names the file, which need not be there."""
        self._file = file
        self._lock = FileLock(file.with_name(f"{file.name}.lock"))
        self._told: Mark | None = None
        self._known: State | None = None
        """The state as this process last saw it: whoever cleans a disk may delete the file."""

    def start(self, bundle: Path) -> State:
        """The state of a service that starts with a bundle.

        Items that were unavailable when an earlier service ended stay so.

        Raises:
            ValueError: the file is no state of a service.
        """
        with self._lock:
            earlier = self._found()
            unavailable = frozenset[str]() if earlier is None else earlier.unavailable
            return self._write(State(bundle=bundle, unavailable=unavailable))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other services away from the file.

        Raises:
            ValueError: another service uses it.
        """
        lock = FileLock(self._file.with_name(f"{self._file.name}.service"))
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"{self._file}: another service uses this file; name another one with --state."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def change(self, changed: Callable[[State], State]) -> State:
        """Changes the state, while no other process does.

        Raises:
            FileNotFoundError, ValueError: see `read`.
        """
        with self._lock:
            return self._write(changed(self.read()))

    def read(self) -> State:
        """The state; the one that was last seen, if the file is gone or damaged.

        Raises:
            FileNotFoundError: the file is gone, and this process has not seen it.
            ValueError: the file is no state of a service, and this process has seen none.
        """
        try:
            self._known = self._found() or self._known
        except ValueError as error:
            if self._known is None:
                raise
            if self.mark() != self._told:  # once
                self._told = self.mark()
                _LOG.error(f"{error} The service goes on with the state before.")
        if self._known is None:
            raise FileNotFoundError(f"{self._file}: is gone; start the service again.")
        return self._known

    def mark(self) -> Mark | None:
        """The mark of the file; None if it is gone."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _found(self) -> State | None:
        """The state of the file; None where there is no file."""
        if not self._file.exists():
            return None
        try:
            return State.model_validate(read_json(self._file))
        except ValidationError as error:
            raise ValueError(
                f"{self._file}: is no state of a service; name another file with --state, or "
                "delete this one."
            ) from error

    def _write(self, state: State) -> State:
        content: dict[str, Any] = state.model_dump(mode="json")
        write_json(self._file, {**content, "unavailable": sorted(state.unavailable)})
        self._known = state
        return state
