"""Vectors: scaling, joining, saving and loading of item vectors of any source.

On disk, vectors are a `.npy` file and a `.json` file beside it. Anybody can read the `.npy` file.
The `.json` file names the items and the sources of the vectors, so that no catalog is made of
another catalog's vectors by mistake.
"""

import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestep.files import read_json, whole_file, write_json

_FORMAT = "sidestep.vectors"
_MAGIC = b"\x93NUMPY"


class VectorsInfo(BaseModel):
    """Description of item vectors: their items, their numbers and their sources.

    items_sha256: hash of the item IDs in the order of the rows, see `items_sha256`.
    vectors_sha256: hash of the numbers.
    made_of: sources, weights, models, seeds and data of the vectors as far as known, as JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["sidestep.vectors"]
    schema_version: Literal[1]
    num_items: int = Field(ge=0)
    dim: int = Field(ge=0)
    items_sha256: str
    vectors_sha256: str
    made_of: dict[str, Any]


def items_sha256(item_ids: Sequence[str]) -> str:
    """Hash of the number, names and order of items."""
    digest = hashlib.sha256()
    for item_id in item_ids:
        # In JSON, an ID has no line breaks, so a line break always ends an ID.
        digest.update(json.dumps(item_id).encode() + b"\n")
    return digest.hexdigest()


def info_file(path: Path) -> Path:
    """Path of the description of the vectors at `path`."""
    return path.with_suffix(".json")


def unit_length(vectors: Float[np.ndarray, "items dim"]) -> Float[np.ndarray, "items dim"]:
    """Scales each row to Euclidean length 1. A row of zeros, for an unknown item, stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled


def concatenated(
    parts: Sequence[Float[np.ndarray, "items _"]], *, weights: Sequence[float]
) -> Float[np.ndarray, "items dim"]:
    """Puts several vectors of the same items side by side.

    First, the rows of each part are scaled to unit length. So the squared distance between two
    items that are known to every part is the sum over parts of weight² times the squared distance
    in the part.

    Args:
        parts: arrays whose rows are the same items in the same order; widths may differ.
        weights: one finite number above 0 per part.
    """
    if not parts:
        raise ValueError("need at least one array of vectors to concatenate.")
    if len(parts) != len(weights):
        raise ValueError(
            f"{len(parts)} arrays of vectors need as many weights, got {len(weights)}."
        )
    if not all(0 < weight < math.inf for weight in weights):
        raise ValueError(
            f"weights must be finite and above 0, got {list(weights)}; leave the part out."
        )
    num_items = {len(part) for part in parts}
    if len(num_items) != 1:
        raise ValueError(f"all parts must have the same items, got {sorted(num_items)} rows.")
    scaled = [unit_length(part) * weight for part, weight in zip(parts, weights, strict=True)]
    return np.concatenate(scaled, axis=1, dtype=np.float32)


def save_vectors(
    path: Path,
    vectors: Float[np.ndarray, "items dim"],
    *,
    item_ids: Sequence[str],
    made_of: Mapping[str, Any],
) -> None:
    """Writes the vectors as float32 `.npy`, whole or not at all, and their description beside them.

    Args:
        path: the `.npy` file.
        vectors: one row per item.
        item_ids: the items of the rows.
        made_of: see `VectorsInfo`.

    Raises:
        ValueError: a value is NaN or infinite; or as in `check_vectors_file`.
    """
    check_vectors_file(path)
    if len(vectors) != len(item_ids):
        raise ValueError(f"{len(vectors)} vectors need as many item IDs, got {len(item_ids)}.")
    with np.errstate(over="ignore"):  # values that float32 cannot hold become infinite
        written = np.ascontiguousarray(vectors, dtype=np.float32)
    is_bad = ~np.isfinite(written).all(axis=1)
    if is_bad.any():
        raise ValueError(
            f"{path}: the vectors of {int(is_bad.sum())} items hold NaN or infinity, the first is "
            f"in row {int(is_bad.argmax())}; nothing was written."
        )
    info = VectorsInfo(
        format=_FORMAT,
        schema_version=1,
        num_items=len(written),
        dim=written.shape[1],
        items_sha256=items_sha256(item_ids),
        vectors_sha256=_sha256(written),
        made_of=dict(made_of),
    )
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, written, allow_pickle=False)
    # A process that is stopped here leaves a description of other vectors, which `load_vectors`
    # refuses.
    write_json(info_file(path), info.model_dump(mode="json"))


def check_vectors_file(path: Path) -> None:
    """Refuses a path at which vectors would not be found again, or would overwrite another file.

    Raises:
        ValueError: the suffix is not .npy, the file at the path is no .npy file, or the file at the
            path of the description is no description.
    """
    if path.suffix != ".npy":
        raise ValueError(f"{path}: vectors are a .npy file; name one, such as vectors.npy.")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name a .npy file.")
    if path.exists():
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
        if start != _MAGIC:
            raise ValueError(
                f"{path}: is there and is no .npy file, so it is not overwritten; name another "
                "file or delete this one."
            )
    beside = info_file(path)
    if beside.exists() and not _describes_vectors(beside):
        raise ValueError(
            f"{beside}: is there and describes no vectors, so it is not overwritten; give {path} "
            "another name, or delete this file."
        )


def load_vectors(path: Path, *, item_ids: Sequence[str]) -> Float[np.ndarray, "items dim"]:
    """Reads the vectors that `save_vectors` wrote, of these items in this order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no array of vectors; its description is missing or describes other
            vectors; or the vectors are those of other items.
    """
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        # Not numpy's own message, which says of any other file that it could be unpickled.
        raise ValueError(f"{path}: not a whole .npy file of vectors; embed again.") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(f"{path}: not one row of decimal numbers per item; embed again.")
    info = vectors_info(path)
    if info.vectors_sha256 != _sha256(vectors):
        raise ValueError(
            f"{path}: not the vectors that {info_file(path).name} describes; embed again."
        )
    if info.num_items != len(item_ids):
        raise ValueError(
            f"{path}: vectors of {info.num_items} items, but there are {len(item_ids)} in this "
            "dataset; run 'sidestep embed' on it."
        )
    if info.items_sha256 != items_sha256(item_ids):
        raise ValueError(
            f"{path}: vectors of {info.num_items} other items, or of these in another order; run "
            "'sidestep embed' on this dataset."
        )
    return vectors


def vectors_info(path: Path) -> VectorsInfo:
    """Reads the description of the vectors at `path`.

    Raises:
        FileNotFoundError: there is no description.
        ValueError: the description is damaged, or describes something else.
    """
    beside = info_file(path)
    if not beside.is_file():
        raise FileNotFoundError(
            f"{path}: its description {beside.name} is missing beside it, so the items of these "
            "vectors are not known; embed again, or import them with 'sidestep embed DATASET "
            f"--given {shlex.quote(str(path))}'."
        )
    try:
        return VectorsInfo.model_validate(read_json(beside))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"{beside}: {'.'.join(map(str, first['loc']))}: {first['msg']}; embed again with this "
            "version of Sidestep."
        ) from error


def described_vectors(path: Path) -> VectorsInfo | None:
    """The description of the vectors at `path`; None if there is no description."""
    if path.suffix != ".npy" or not path.is_file() or not _describes_vectors(info_file(path)):
        return None
    info = vectors_info(path)
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return info if info.vectors_sha256 == _sha256(vectors) else None


def _describes_vectors(file: Path) -> bool:
    try:
        content = read_json(file)
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and content.get("format") == _FORMAT


def _sha256(vectors: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(vectors).data).hexdigest()
