"""Residual codebooks: one set of vectors per level, each quantising what the levels before left."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sidestep.files import whole_file

SCHEMA_VERSION = 1

_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class ResidualCodebooks:
    """A fitted residual quantiser: an item's vector is about the sum of its codes' vectors.

    levels: the codewords of each level; float32, all of the same width.
    """

    levels: tuple[Float[np.ndarray, "_ dim"], ...]

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return tuple(len(codewords) for codewords in self.levels)

    @property
    def dim(self) -> int:
        """Width of the vectors that can be encoded."""
        return int(self.levels[0].shape[1])

    def encode(self, vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, "items levels"]:
        """Nearest codeword of the remaining residual, level by level; the lower code wins ties."""
        self._check_width(vectors)
        residuals = vectors.astype(np.float32)
        semantic_ids = np.empty((len(vectors), len(self.levels)), dtype=np.int32)
        for level, codewords in enumerate(self.levels):
            semantic_ids[:, level] = nearest(residuals, codewords)
            residuals -= codewords[semantic_ids[:, level]]
        return semantic_ids

    def reconstruct(
        self, semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """The sum of each item's codewords."""
        vectors = np.zeros((len(semantic_ids), self.dim), dtype=np.float32)
        for level, codewords in enumerate(self.levels):
            vectors += codewords[semantic_ids[:, level]]
        return vectors

    def last_residuals(
        self, vectors: Float[np.ndarray, "items dim"], semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """What is left of each vector for the last level to quantise."""
        self._check_width(vectors)
        residuals = vectors.astype(np.float32)
        for level, codewords in enumerate(self.levels[:-1]):
            residuals -= codewords[semantic_ids[:, level]]
        return residuals

    def save(self, path: Path) -> None:
        """Writes the codebooks as safetensors, whole or not at all."""
        tensors = {f"level_{level}": codewords for level, codewords in enumerate(self.levels)}
        header = {"format": "sidestep.codebooks", "schema_version": str(SCHEMA_VERSION)}
        with whole_file(path) as temporary:
            temporary.write_bytes(save(tensors, metadata={"sidestep": json.dumps(header)}))

    @staticmethod
    def load(path: Path) -> "ResidualCodebooks":
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, of another kind, or of another schema version.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {}).get("sidestep", "{}"))
                if header.get("format") != "sidestep.codebooks":
                    raise ValueError(f"{path}: not a file of codebooks; run tokenize again.")
                if header["schema_version"] != str(SCHEMA_VERSION):
                    raise ValueError(
                        f"{path}: written with schema version {header['schema_version']}, this "
                        f"version of sidestep reads {SCHEMA_VERSION}; run tokenize again."
                    )
                names = [f"level_{level}" for level in range(len(file.keys()))]
                return ResidualCodebooks(tuple(file.get_tensor(name) for name in names))
        except SafetensorError as error:
            raise ValueError(f"{path}: damaged ({error}); run tokenize again.") from error

    def _check_width(self, vectors: Float[np.ndarray, "items dim"]) -> None:
        if vectors.shape[1] != self.dim:
            raise ValueError(
                f"the codebooks were fitted on vectors of width {self.dim}, got width "
                f"{vectors.shape[1]}; encode vectors of the same embedding."
            )


def nearest(
    vectors: Float[np.ndarray, "items dim"], codewords: Float[np.ndarray, "codes dim"]
) -> Int[np.ndarray, " items"]:
    """Index of the nearest codeword of each vector; the lower index wins ties."""
    half_squares = 0.5 * np.square(codewords).sum(axis=1)
    chunk = max(1, _CHUNK_BYTES // (4 * len(codewords)))
    codes = np.empty(len(vectors), dtype=np.int32)
    for start in range(0, len(vectors), chunk):
        part = slice(start, start + chunk)
        # |v - c|² = |v|² - 2 (v·c - |c|²/2): the largest bracket is the nearest codeword.
        codes[part] = np.argmax(vectors[part] @ codewords.T - half_squares, axis=1)
    return codes
