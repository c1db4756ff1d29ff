"""Encoding: turns texts into vectors by a slow encoder, in chunks, so that a killed run can go on.

Any encoder can be used; `sentence` has one.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from sidestep.files import whole_file

CHUNK_SIZE = 256
"""Number of texts that are encoded and stored together. A killed run loses at most so many."""

Report = Callable[[int, int], None]
"""Called with the number of texts that are encoded and the number of all texts."""


@runtime_checkable
class TextEncoder(Protocol):
    """An encoder that turns texts into vectors."""

    @property
    def sha256(self) -> str:
        """Hash of everything that decides the vectors: weights, vocabulary, settings."""
        ...

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "texts dim"]:
        """Makes one vector per text. The same texts in the same order give the same bits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Result of encoding texts.

    vectors: float32; zeros for an empty text.
    num_empty: number of texts that hold only blanks. These are not encoded.
    num_resumed: number of texts whose vectors an earlier run had stored.
    """

    vectors: Float[np.ndarray, "texts dim"]
    num_empty: int
    num_resumed: int


def encode_texts(
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    unfinished: Path | None = None,
    chunk_size: int = CHUNK_SIZE,
    report: Report | None = None,
) -> Encoded:
    """Encodes all texts, and continues an earlier call with the same texts that was killed.

    An encoder's rounding depends on which texts share a batch. The chunks do not depend on
    interruptions, so the vectors are always the same, bit for bit.

    Args:
        encoder: the encoder.
        texts: one per item; an empty text gives a vector of zeros.
        unfinished: folder that stores finished chunks, in one subfolder for each encoder and list
            of texts. The caller deletes it after saving the vectors. None stores nothing.
        chunk_size: number of texts per chunk.
        report: called at the start and after each chunk.

    Raises:
        ValueError: there is no text at all.
    """
    rows = np.array([row for row, text in enumerate(texts) if text.strip()], dtype=np.int64)
    if not len(rows):
        raise ValueError(
            "there is no text to encode: all are empty; name other text columns, or give item "
            "vectors of your own or collaborative vectors."
        )
    shown = [texts[row] for row in rows]
    folder = None if unfinished is None else unfinished / _key(encoder, shown, chunk_size)
    tell = report or (lambda _done, _total: None)
    parts, num_resumed = [], 0
    tell(0, len(shown))
    for start in range(0, len(shown), chunk_size):
        chunk = shown[start : start + chunk_size]
        file = None if folder is None else folder / f"{start:09d}.npy"
        vectors = None if file is None else _kept(file, len(chunk))
        if vectors is None:
            vectors = np.asarray(encoder.encode(chunk), dtype=np.float32)
            if file is not None:
                _keep(file, vectors)
        else:
            num_resumed += len(chunk)
        parts.append(vectors)
        tell(start + len(chunk), len(shown))
    encoded = np.concatenate(parts)
    vectors = np.zeros((len(texts), encoded.shape[1]), dtype=np.float32)
    vectors[rows] = encoded
    return Encoded(vectors=vectors, num_empty=len(texts) - len(rows), num_resumed=num_resumed)


def _key(encoder: TextEncoder, texts: Sequence[str], chunk_size: int) -> str:
    """Name of work that can be continued: the same encoder, texts and chunks."""
    digest = hashlib.sha256(f"{encoder.sha256} {chunk_size}\n".encode())
    for text in texts:
        # In JSON, a text has no line breaks, so a line break always ends a text.
        digest.update(json.dumps(text).encode() + b"\n")
    return digest.hexdigest()[:16]


def _kept(file: Path, num_texts: int) -> Float[np.ndarray, "texts dim"] | None:
    """The vectors of a finished chunk; None if its file is absent or damaged."""
    try:
        vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    is_whole = (
        isinstance(vectors, np.ndarray)
        and vectors.ndim == 2
        and vectors.dtype == np.float32
        and len(vectors) == num_texts
    )
    return vectors if is_whole else None


def _keep(file: Path, vectors: Float[np.ndarray, "texts dim"]) -> None:
    with whole_file(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, vectors, allow_pickle=False)
