"""Vectors: what can be done with one vector per item, whatever the vectors came from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sidestep.files import whole_file


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
        weights: one number above 0 per part.
    """
    if not parts:
        raise ValueError("need at least one array of vectors to concatenate.")
    if len(parts) != len(weights):
        raise ValueError(
            f"{len(parts)} arrays of vectors need as many weights, got {len(weights)}."
        )
    if min(weights) <= 0:
        raise ValueError(f"weights must be above 0, got {list(weights)}; leave the part out.")
    num_items = {len(part) for part in parts}
    if len(num_items) != 1:
        raise ValueError(f"all parts must have the same items, got {sorted(num_items)} rows.")
    scaled = [unit_length(part) * weight for part, weight in zip(parts, weights, strict=True)]
    return np.concatenate(scaled, axis=1, dtype=np.float32)


def save_vectors(path: Path, vectors: Float[np.ndarray, "items dim"]) -> None:
    """Writes the vectors as float32 `.npy`, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors.astype(np.float32, copy=False), allow_pickle=False)


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
