"""Files of arrays that say what they are: safetensors with a header. Nothing is unpickled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sidestep.files import whole_file

_KEY = "sidestep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The content of a file.

    arrays: by name.
    settings: plain values, as JSON holds them.
    """

    arrays: Mapping[str, np.ndarray]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFormat:
    """One kind of file.

    name: what it holds, in words: "a residual tokenizer".
    version: of its schema; only the same one is read.
    remedy: what makes the file again, the end of every refusal: "run tokenize again".
    """

    name: str
    version: int
    remedy: str

    def write(self, path: Path, stored: Stored) -> None:
        """Writes a file, whole or not at all."""
        header = {
            "format": self.name,
            "schema_version": self.version,
            "settings": dict(stored.settings),
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in stored.arrays.items()}
        with whole_file(path) as temporary:
            temporary.write_bytes(save(arrays, metadata={_KEY: json.dumps(header)}))

    def read(self, path: Path) -> Stored:
        """Reads what `write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, of another kind, or of another schema version.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                settings = self._settings(path, (file.metadata() or {}).get(_KEY, "null"))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: damaged ({error}); {self.remedy}.") from error
        return Stored(arrays=arrays, settings=settings)

    def _settings(self, path: Path, text: str) -> Mapping[str, Any]:
        header = json.loads(text)
        if not isinstance(header, dict) or not {"format", "settings"} <= header.keys():
            raise ValueError(f"{path}: not {self.name}; {self.remedy}.")
        if header["format"] != self.name:
            raise ValueError(f"{path}: {header['format']}, not {self.name}; {self.remedy}.")
        if header.get("schema_version") != self.version:
            raise ValueError(
                f"{path}: schema version {header.get('schema_version')!r}, this version of "
                f"Sidestep reads {self.version}; {self.remedy}."
            )
        settings: Mapping[str, Any] = header["settings"]
        return settings
