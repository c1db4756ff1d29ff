"""The memory of a pipeline: the inputs and settings with which its steps last ran."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidestep.files import file_sha256, read_json, write_json
from sidestep.pipelines.steps import Step
from sidestep.pipelines.training_step import NEVER_RUN


class Memory:
    """Record of the last inputs and settings of steps; `steps.json` in a pipeline's folder."""

    def __init__(self, file: Path) -> None:
        """Reads the record, which is empty if there is no file.

        Raises:
            ValueError: the file is damaged.
        """
        self._file = file
        self._known: dict[str, Any] = read_json(file) if file.is_file() else {}
        if not isinstance(self._known, dict):
            raise ValueError(
                f"{file}: this is no memory of a pipeline; to start anew, delete the file and "
                "all that the pipeline has made beside it."
            )
        self._known.setdefault("steps", {})
        self._known.setdefault("files", {})

    def changes(self, step: Step) -> list[str]:
        """Differences since the step last began; empty if there are none."""
        last = self._known["steps"].get(step.name)
        if last is None:
            return [NEVER_RUN]
        return list(_differences(last["made_from"], step.made_from))

    def is_finished(self, step: Step) -> bool:
        """Whether the last run of the step came to its end."""
        return bool(self._known["steps"].get(step.name, {}).get("finished"))

    def has_begun(self, name: str) -> bool:
        """Whether a step of that name ever began."""
        return name in self._known["steps"]

    def was_product_changed(self, step: Step) -> bool:
        """Whether another command has changed a product that only the step may make."""
        assert step.product is not None
        made = self._known["steps"].get(step.name, {}).get("product")
        return step.is_only_maker and made != self.sha256(step.product)

    def input_of(self, step: Step, key: str) -> str | None:
        """Recorded state of an input when the step last began; None where it had no such input."""
        last = self._known["steps"].get(step.name, {"made_from": step.made_from})
        found: str | None = last["made_from"]["inputs"].get(key)
        return found

    def begin(self, step: Step) -> None:
        """Records that the step runs."""
        self._known["steps"][step.name] = {"finished": False, "made_from": step.made_from}
        write_json(self._file, self._known)

    def finish(self, step: Step) -> None:
        """Records that the step has ended."""
        entry = self._known["steps"][step.name]
        entry["finished"] = True
        if step.is_only_maker and step.product is not None:
            entry["product"] = self.sha256(step.product)
        write_json(self._file, self._known)

    def sha256(self, path: Path) -> str:
        """Hash of a file or of a folder's files, read again only if time or size have changed."""
        if path.is_dir():
            parts = [
                (file.relative_to(path).as_posix(), self.sha256(file))
                for file in sorted(path.rglob("*"))
                if file.is_file()
            ]
            return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        state = path.stat()
        known = self._known["files"].get(str(path.resolve()))
        if known is not None and known[:2] == [state.st_size, state.st_mtime_ns]:
            return str(known[2])
        digest = file_sha256(path)
        self._known["files"][str(path.resolve())] = [state.st_size, state.st_mtime_ns, digest]
        return digest


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{name}.{key}" if name and name != "settings" else key
            yield from _differences(old.get(key), new.get(key), inner)
    elif old != new:
        if name.startswith(("inputs.", "after.")):
            yield f"{name.partition('.')[2]} changed"
        else:
            yield f"{name} was {old!r} and is {new!r}"
