"""The training log: one JSON object per line, without lines from a future that was undone."""

import json
from pathlib import Path
from typing import Any

from sidestep.files import told_unwritable


class TrainingLog:
    """Appends lines to a JSONL file."""

    def __init__(self, path: Path, *, size_bytes: int = 0) -> None:
        """Opens the log and drops what lies behind `size_bytes`, and the half of a last line.

        A machine that lost its power may have kept a checkpoint and not the end of the log before
        it; the lines that are lost are missing, and the others can be read.

        Args:
            path: of the file; made if it is missing.
            size_bytes: the size to continue from, as `size_bytes` gave it earlier.
        """
        self._path = path
        with told_unwritable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            kept = path.read_bytes()[:size_bytes]
            self._file.truncate(kept.rfind(b"\n") + 1)

    @property
    def size_bytes(self) -> int:
        """Bytes that are written, down to the operating system."""
        return self._file.seek(0, 2)

    def write(self, line: dict[str, Any]) -> None:
        """Appends one line, readable by others at once."""
        with told_unwritable(self._path):
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        with told_unwritable(self._path):
            self._file.close()
