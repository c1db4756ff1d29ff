"""Residual codebooks: one codebook per level, which quantises the residual of the levels before."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from sidestep.array_files import ArrayFormat, Stored
from sidestep.tokenizer.vectors import check_encodable

_FORMAT = ArrayFormat(name="a residual tokenizer", version=3, remedy="run tokenize again")

_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class ResidualCodebooks:
    """A fitted residual quantiser: the vector of an item is about the sum of its codewords.

    levels: the codewords of each level; float32, all of the same width.
    prices: price of each code, per level, which is added to the squared distance; None adds
        nothing. A code that is near to many items has a high price, so that new items fill the
        codes evenly.
    """

    levels: tuple[Float[np.ndarray, "_ dim"], ...]
    prices: tuple[Float[np.ndarray, " _"], ...] | None = None

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each level."""
        return tuple(len(codewords) for codewords in self.levels)

    @property
    def dim(self) -> int:
        """Width of the vectors that can be encoded."""
        return int(self.levels[0].shape[1])

    def encode(self, vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, "items levels"]:
        """Encodes vectors, level by level, by the codeword nearest to the residual.

        With prices, nearest means the smallest sum of squared distance and price. The lower code
        wins ties.
        """
        check_encodable(vectors, self.dim)
        residuals = vectors.astype(np.float32)
        semantic_ids = np.empty((len(vectors), len(self.levels)), dtype=np.int32)
        for level, codewords in enumerate(self.levels):
            prices = None if self.prices is None else self.prices[level]
            semantic_ids[:, level] = nearest(residuals, codewords, prices)
            residuals -= codewords[semantic_ids[:, level]]
        return semantic_ids

    def reconstruct(
        self, semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """Sum of the codewords of each item."""
        return self.reconstruct_first(semantic_ids, len(self.levels))

    def reconstruct_first(
        self, semantic_ids: Int[np.ndarray, "items levels"], depth: int
    ) -> Float[np.ndarray, "items dim"]:
        """Sum of the codewords of the first `depth` codes of each item."""
        vectors = np.zeros((len(semantic_ids), self.dim), dtype=np.float32)
        for level, codewords in enumerate(self.levels[:depth]):
            vectors += codewords[semantic_ids[:, level]]
        return vectors

    def last_residuals(
        self, vectors: Float[np.ndarray, "items dim"], semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """Residual of each vector after all levels but the last, which the last level quantises."""
        check_encodable(vectors, self.dim)
        residuals = vectors.astype(np.float32)
        for level, codewords in enumerate(self.levels[:-1]):
            residuals -= codewords[semantic_ids[:, level]]
        return residuals

    @property
    def last_codewords(self) -> Float[np.ndarray, "codes dim"]:
        """The codebook of the last level."""
        return self.levels[-1]

    def save(self, path: Path) -> None:
        """Writes the codebooks as safetensors, whole or not at all."""
        arrays = {f"level_{level}": codewords for level, codewords in enumerate(self.levels)}
        for level, prices in enumerate(self.prices or ()):
            arrays[f"prices_{level}"] = prices
        settings = {"num_levels": len(self.levels), "has_prices": self.prices is not None}
        _FORMAT.write(path, Stored(arrays=arrays, settings=settings))

    @classmethod
    def load(cls, path: Path) -> "ResidualCodebooks":
        """Reads what `save` wrote; the errors are those of `ArrayFormat.read`."""
        stored = _FORMAT.read(path)
        levels = range(stored.settings["num_levels"])
        prices = None
        if stored.settings["has_prices"]:
            prices = tuple(stored.arrays[f"prices_{level}"] for level in levels)
        return cls(tuple(stored.arrays[f"level_{level}"] for level in levels), prices)


def nearest(
    vectors: Float[np.ndarray, "items dim"],
    codewords: Float[np.ndarray, "codes dim"],
    prices: Float[np.ndarray, " codes"] | None = None,
) -> Int[np.ndarray, " items"]:
    """Index of the codeword of least squared distance plus price; the lower index wins ties."""
    offsets = 0.5 * np.square(codewords).sum(axis=1)
    if prices is not None:
        offsets = offsets + 0.5 * prices.astype(np.float32)
    codes = np.empty(len(vectors), dtype=np.int32)
    for part in chunks(len(vectors), len(codewords)):
        # |v - c|² = |v|² - 2 (v·c - |c|²/2): the largest bracket is the nearest codeword.
        scores = vectors[part] @ codewords.T
        scores -= offsets
        codes[part] = np.argmax(scores, axis=1)
    return codes


def chunks(num_items: int, num_codes: int) -> list[slice]:
    """Splits items into parts, so that a matrix of one part and all codes fits memory."""
    size = max(1, _CHUNK_BYTES // (4 * num_codes))
    return [slice(start, start + size) for start in range(0, num_items, size)]
