"""The journal of a run: the training log, and the trackers that repeat it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidestep.training.config import TrackerName
from sidestep.training.log import TrainingLog
from sidestep.training.trackers import Trackers


class Journal:
    """The log of a run and its trackers; no line is kept before `open`."""

    def __init__(self, folder: Path, trackers: Sequence[TrackerName]) -> None:
        """Names the folder and the trackers; writes nothing.

        Args:
            folder: of the run.
            trackers: names of the trackers that repeat the log.
        """
        self._folder, self._names = folder, trackers
        self._log: TrainingLog | None = None
        self._trackers: Trackers | None = None

    @property
    def is_open(self) -> bool:
        """Whether lines are kept."""
        return self._log is not None

    @property
    def size_bytes(self) -> int:
        """Bytes of the log; 0 while the journal is closed."""
        return self._log.size_bytes if self._log is not None else 0

    def open(self, *, size_bytes: int, step: int, about: Mapping[str, Any]) -> None:
        """Continues the log from a size, and the trackers from a step.

        Args:
            size_bytes: see `TrainingLog`.
            step: optimizer steps done.
            about: the configuration of the run, which trackers show.
        """
        self._log = TrainingLog(self._folder / "log.jsonl", size_bytes=size_bytes)
        if self._names:
            self._trackers = Trackers(self._names, self._folder, step=step, about=about)

    def write(self, line: dict[str, Any]) -> None:
        """Appends a line; does nothing while the journal is closed."""
        if self._log is not None:
            self._log.write(line)
        if self._trackers is not None:
            self._trackers.write(line)

    def close(self) -> None:
        """Closes log and trackers."""
        if self._log is not None:
            self._log.close()
        if self._trackers is not None:
            self._trackers.close()
