"""Encoding: texts to vectors by a slow encoder, chunk by chunk, so that a killed run can go on.

What encoder it is does not matter here; `sentence` has one.
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
"""Texts that are encoded together and kept together: the most that a killed run loses."""

Report = Callable[[int, int], None]
"""Is told how many of how many texts are encoded."""


@runtime_checkable
class TextEncoder(Protocol):
    """What turns texts into vectors."""

    @property
    def sha256(self) -> str:
        """A hash of everything that decides the vectors: weights, vocabulary, settings."""
        ...

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "texts dim"]:
        """One vector per text; the same texts in the same order give the same bits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Texts as vectors.

    vectors: float32; zeros for an empty text.
    num_empty: texts of nothing but blanks, which no encoder was shown.
    num_resumed: texts whose vectors an earlier run had left.
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
    """Encodes all texts, and continues where an earlier call with the same texts was killed.

    The chunks are the same however often the work is interrupted, and so are the vectors, bit for
    bit: an encoder's rounding depends on which texts share a batch.

    Args:
        encoder: what encodes.
        texts: one per item; an empty one gives a vector of zeros.
        unfinished: a folder that keeps finished chunks, in a subfolder of its own for each encoder
            and list of texts. Whoever has saved the vectors deletes it; None keeps nothing.
        chunk_size: texts per chunk.
        report: is called at the start and after each chunk.

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
    """Names work that can be continued: the same encoder, texts and chunks."""
    digest = hashlib.sha256(f"{encoder.sha256} {chunk_size}\n".encode())
    for text in texts:
        # As JSON a text has no line breaks: where one ends cannot be mistaken.
        digest.update(json.dumps(text).encode() + b"\n")
    return digest.hexdigest()[:16]


def _kept(file: Path, num_texts: int) -> Float[np.ndarray, "texts dim"] | None:
    """The vectors of a finished chunk; None where it is absent or damaged."""
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
