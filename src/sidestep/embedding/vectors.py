"""Vectors: what can be done with one vector per item, whatever the vectors came from."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sidestep.files import whole_file

_MAGIC = b"\x93NUMPY"


def unit_length(vectors: Float[np.ndarray, "items dim"]) -> Float[np.ndarray, "items dim"]:
    """Scales each row to Euclidean length 1; a row of zeros, an item nothing is known of, stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled


def concatenated(
    parts: Sequence[Float[np.ndarray, "items _"]], *, weights: Sequence[float]
) -> Float[np.ndarray, "items dim"]:
    """Puts several vectors of the same items side by side.

    Each part is brought to unit length first, so that a squared distance between two items known
    to every part is the sum over parts of weight² times the part's squared distance.

    Args:
        parts: rows are the same items in the same order; widths may differ.
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


def save_vectors(path: Path, vectors: Float[np.ndarray, "items dim"]) -> None:
    """Writes the vectors as float32 `.npy`, whole or not at all.

    Raises:
        ValueError: a value is NaN or infinite, or see `check_vectors_file`.
    """
    check_vectors_file(path)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        written = vectors.astype(np.float32, copy=False)
    is_bad = ~np.isfinite(written).all(axis=1)
    if is_bad.any():
        raise ValueError(
            f"{path}: the vectors of {int(is_bad.sum())} items hold NaN or infinity, the first is "
            f"in row {int(is_bad.argmax())}; nothing was written."
        )
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, written, allow_pickle=False)


def check_vectors_file(path: Path) -> None:
    """Refuses a place where vectors would not be found again, or something else would be lost.

    Raises:
        ValueError: the suffix is not .npy, or what stands there is no .npy file.
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
                f"{path}: is there and is no .npy file, and so is not overwritten; name another "
                "or delete it."
            )


def load_vectors(path: Path) -> Float[np.ndarray, "items dim"]:
    """Reads what `save_vectors` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an array of vectors.
    """
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a .npy file of vectors ({error}); embed again.") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(f"{path}: not one row of decimal numbers per item; embed again.")
    return vectors
