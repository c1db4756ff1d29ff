"""Files of fitted tokenizers: safetensors whose header says what they are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sidestep.files import whole_file

SCHEMA_VERSION = 2

_FORMAT = "sidestep.tokenizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The content of a file.

    arrays: by name.
    settings: plain values, as JSON holds them.
    """

    arrays: Mapping[str, np.ndarray]
    settings: Mapping[str, Any]


def write_tokenizer(path: Path, kind: str, stored: Stored) -> None:
    """Writes a fitted tokenizer, whole or not at all.

    Args:
        path: of the file.
        kind: of tokenizer; only a reader of the same kind accepts the file.
        stored: what it consists of.
    """
    header = {
        "format": _FORMAT,
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "settings": dict(stored.settings),
    }
    with whole_file(path) as temporary:
        arrays = {name: np.ascontiguousarray(array) for name, array in stored.arrays.items()}
        temporary.write_bytes(save(arrays, metadata={"sidestep": json.dumps(header)}))


def read_tokenizer(path: Path, kind: str) -> Stored:
    """Reads what `write_tokenizer` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another kind, or of another schema version.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = _header(file.metadata())
            _check_header(path, header, kind)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error}); run tokenize again.") from error
    return Stored(arrays=arrays, settings=header["settings"])


def _header(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        header = json.loads((metadata or {}).get("sidestep", ""))
    except json.JSONDecodeError:
        return {}
    return header if isinstance(header, dict) else {}


def _check_header(path: Path, header: Mapping[str, Any], kind: str) -> None:
    if header.get("format") != _FORMAT:
        raise ValueError(f"{path}: not the file of a tokenizer; run tokenize again.")
    if header["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: written with schema version {header['schema_version']}, this version of "
            f"sidestep reads {SCHEMA_VERSION}; run tokenize again."
        )
    if header["kind"] != kind:
        raise ValueError(
            f"{path}: a tokenizer of the kind {header['kind']!r}, expected {kind!r}; run tokenize "
            "again."
        )
