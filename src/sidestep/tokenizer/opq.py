"""Optimised product quantisation: after a rotation, each level quantises dimensions of its own."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, Field

from sidestep.array_files import ArrayFormat, Stored
from sidestep.tokenizer.clustering import ClusteringConfig, clustered
from sidestep.tokenizer.codebooks import nearest
from sidestep.tokenizer.tokenizer import Fit, Report
from sidestep.tokenizer.vectors import check_encodable, check_fittable

KIND = "product"

_FORMAT = ArrayFormat(name="a product tokenizer", version=3, remedy="run tokenize again")


class OpqConfig(ClusteringConfig):
    """How vectors become independent codebooks."""

    rotate: bool = True
    """Whether a rotation is learned first, so that the levels share out what the vectors vary in;
    without it the levels take the dimensions as they come."""

    rotation_iterations: int = Field(50, ge=1)
    """Rounds of quantising and rotating."""


@dataclass(frozen=True, slots=True)
class ProductCodebooks:
    """A fitted product quantiser: a vector is about its codes' vectors side by side, turned.

    rotation: from the vectors to the space of the codewords, which may be wider; rows of the
        transposed matrix are orthonormal, so distances are kept.
    levels: the codewords of each level, of the dimensions that it quantises; float32.
    """

    rotation: Float[np.ndarray, "dim padded"]
    levels: tuple[Float[np.ndarray, "_ part"], ...]

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return tuple(len(codewords) for codewords in self.levels)

    @property
    def dim(self) -> int:
        """Width of the vectors that can be encoded."""
        return len(self.rotation)

    def encode(self, vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, "items levels"]:
        """Nearest codeword in each level's dimensions; the lower code wins ties."""
        rotated = self._rotated(vectors)
        codes = [
            nearest(part, codewords)
            for part, codewords in zip(self._parts(rotated), self.levels, strict=True)
        ]
        return np.stack(codes, axis=1)

    def reconstruct(
        self, semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """Each item's codewords side by side, turned back."""
        parts = [codewords[semantic_ids[:, level]] for level, codewords in enumerate(self.levels)]
        turned_back: np.ndarray = np.concatenate(parts, axis=1) @ self.rotation.T
        return turned_back

    def last_residuals(
        self, vectors: Float[np.ndarray, "items dim"], semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items part"]:
        """The dimensions that the last level quantises; no other level has a share in them."""
        return self._parts(self._rotated(vectors))[-1]

    @property
    def last_codewords(self) -> Float[np.ndarray, "codes part"]:
        """The codebook of the last level."""
        return self.levels[-1]

    def save(self, path: Path) -> None:
        """Writes rotation and codebooks as safetensors, whole or not at all."""
        arrays = {f"level_{level}": codewords for level, codewords in enumerate(self.levels)}
        arrays["rotation"] = self.rotation
        settings = {"num_levels": len(self.levels)}
        _FORMAT.write(path, Stored(arrays=arrays, settings=settings))

    @classmethod
    def load(cls, path: Path) -> "ProductCodebooks":
        """Reads what `save` wrote; the errors are those of `ArrayFormat.read`."""
        stored = _FORMAT.read(path)
        levels = range(stored.settings["num_levels"])
        return cls(
            stored.arrays["rotation"], tuple(stored.arrays[f"level_{level}"] for level in levels)
        )

    def _rotated(
        self, vectors: Float[np.ndarray, "items dim"]
    ) -> Float[np.ndarray, "items padded"]:
        check_encodable(vectors, self.dim)
        rotated: np.ndarray = vectors.astype(np.float32) @ self.rotation
        return rotated

    def _parts(
        self, rotated: Float[np.ndarray, "items padded"]
    ) -> list[Float[np.ndarray, "items part"]]:
        return np.split(rotated, len(self.levels), axis=1)


class Opq:
    """Learns a rotation, by faiss, and a product quantiser behind it.

    Source: Ge, He, Ke and Sun, "Optimized product quantization" (CVPR 2013). The levels are
    independent: no code depends on the one before it, and prefixes are no finer and finer groups.
    Where the width is no multiple of the number of levels, zeros are added up to the next one.
    """

    Config: ClassVar[type[BaseModel]] = OpqConfig

    def __init__(self, config: OpqConfig) -> None:
        self.config = config

    def fit(
        self, vectors: Float[np.ndarray, "items dim"], *, seed: int, report: Report | None = None
    ) -> Fit:
        """Learns the codebooks, see `Tokenizer.fit`.

        Raises:
            ModuleNotFoundError: faiss is not installed.
            ValueError: also when there are more levels than dimensions.
        """
        faiss = _faiss()
        sizes = self.config.codebook_sizes
        check_fittable(vectors, sizes)
        dim, num_levels = vectors.shape[1], len(sizes)
        if dim < num_levels:
            raise ValueError(
                f"opq gives every level dimensions of its own, but the vectors have {dim} for "
                f"{num_levels} levels; use wider vectors, fewer codebook_sizes, or residual-kmeans."
            )
        steps = num_levels + 1
        if report is not None:
            report("rotation and levels", 0, steps)
        padded = -(-dim // num_levels) * num_levels
        rotation = np.eye(dim, padded, dtype=np.float32)
        if self.config.rotate and num_levels > 1:
            rotation = self._rotation(faiss, vectors.astype(np.float32) @ rotation, sizes)[:dim]
        rotated = vectors.astype(np.float32) @ rotation
        seeds = np.random.SeedSequence(seed).generate_state(num_levels)
        levels = []
        parts = np.split(rotated, num_levels, axis=1)
        for level, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            if report is not None:
                report("rotation and levels", level + 1, steps)
            part = np.ascontiguousarray(part)
            levels.append(clustered(part, size, self.config, seed=int(seeds[level])))
        if report is not None:
            report("rotation and levels", steps, steps)
        tokenizer = ProductCodebooks(np.ascontiguousarray(rotation), tuple(levels))
        return Fit(tokenizer=tokenizer, semantic_ids=tokenizer.encode(vectors))

    def _rotation(
        self, faiss: Any, vectors: Float[np.ndarray, "items padded"], sizes: Sequence[int]
    ) -> Float[np.ndarray, "padded padded"]:
        """The learned rotation, to be multiplied from the right.

        faiss knows only codebooks of one size, a power of two: the largest one that no level
        exceeds stands for all of them while the rotation is learned.
        """
        dim = vectors.shape[1]
        quantizer = faiss.ProductQuantizer(dim, len(sizes), min(sizes).bit_length() - 1)
        quantizer.cp.min_points_per_centroid = 1
        learned = faiss.OPQMatrix(dim, len(sizes))
        learned.niter = self.config.rotation_iterations
        learned.pq = quantizer
        learned.train(vectors)
        rotation: np.ndarray = faiss.vector_to_array(learned.A).reshape(dim, dim).T
        return rotation


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the tokenizer opq needs faiss; install it with: pip install 'sidestep[faiss]'"
        ) from error
