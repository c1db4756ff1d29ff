"""Optimised product quantisation: after a rotation, each level quantises its own dimensions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, Field

from sidestep.array_files import ArrayFormat, Stored
from sidestep.tokenizer.clustering import ClusteringConfig, clustered, moved
from sidestep.tokenizer.codebooks import nearest
from sidestep.tokenizer.tokenizer import Fit, Report
from sidestep.tokenizer.vectors import check_encodable, check_fittable

_FORMAT = ArrayFormat(name="a product tokenizer", version=3, remedy="run tokenize again")

_ROTATION_ITEMS = 65_536
"""Largest number of vectors from which a rotation is learned."""

_LEAST_VARIANCE, _TINY = 1e-9, 1e-30
"""Smallest variance, as a share of the largest variance; and smallest absolute variance."""


class OpqConfig(ClusteringConfig):
    """Configuration of optimised product quantisation."""

    rotate: bool = True
    """Whether a rotation is learned first, so that the variance of the vectors is shared out among
    the levels. Without a rotation, the levels take the dimensions in their order."""

    rotation_iterations: int = Field(50, ge=1)
    """Rounds of quantising and rotating."""


@dataclass(frozen=True, slots=True)
class ProductCodebooks:
    """A fitted product quantiser: a vector is about its codewords side by side, rotated back.

    rotation: matrix from the vectors to the space of the codewords, which may be wider. Its rows
        are orthonormal, so distances are kept.
    levels: the codewords of each level, in the dimensions that the level quantises; float32.
    """

    rotation: Float[np.ndarray, "dim padded"]
    levels: tuple[Float[np.ndarray, "_ part"], ...]

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each level."""
        return tuple(len(codewords) for codewords in self.levels)

    @property
    def dim(self) -> int:
        """Width of the vectors that can be encoded."""
        return len(self.rotation)

    def quantised(
        self, vectors: Float[np.ndarray, "items dim"]
    ) -> list[Float[np.ndarray, "items part"]]:
        """The dimensions of the rotated vectors that each level quantises."""
        check_encodable(vectors, self.dim)
        return _parts(vectors.astype(np.float32) @ self.rotation, len(self.levels))

    def encode(self, vectors: Float[np.ndarray, "items dim"]) -> Int[np.ndarray, "items levels"]:
        """Encodes vectors by the nearest codeword in each level's dimensions.

        The lower code wins ties.
        """
        parts = zip(self.quantised(vectors), self.levels, strict=True)
        return np.stack([nearest(part, codewords) for part, codewords in parts], axis=1)

    def reconstruct(
        self, semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items dim"]:
        """The codewords of each item side by side, rotated back."""
        return self.reconstruct_first(semantic_ids, len(self.levels))

    def reconstruct_first(
        self, semantic_ids: Int[np.ndarray, "items levels"], depth: int
    ) -> Float[np.ndarray, "items dim"]:
        """Reconstructs vectors from the first `depth` codes alone.

        In the dimensions of the other levels, a reconstruction is the mean of these items.
        """
        parts = [codewords[semantic_ids[:, level]] for level, codewords in enumerate(self.levels)]
        for part in parts[depth:]:
            part[:] = part.mean(axis=0)
        turned_back: np.ndarray = np.concatenate(parts, axis=1) @ self.rotation.T
        return turned_back

    def last_residuals(
        self, vectors: Float[np.ndarray, "items dim"], semantic_ids: Int[np.ndarray, "items levels"]
    ) -> Float[np.ndarray, "items part"]:
        """The dimensions that the last level quantises. No other level quantises them."""
        return self.quantised(vectors)[-1]

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


class Opq:
    """Learns a rotation, and a product quantiser of the rotated vectors.

    Source: Ge, He, Ke and Sun, "Optimized product quantization" (CVPR 2013): the start of their
    parametric solution, then the rounds of their non-parametric one. The levels are independent: no
    code depends on the code before it, so a longer prefix is not a finer group of similar items. If
    the width is no multiple of the number of levels, zeros are added up to the next multiple.
    """

    Config: ClassVar[type[BaseModel]] = OpqConfig

    def __init__(self, config: OpqConfig) -> None:
        self.config = config

    def fit(
        self, vectors: Float[np.ndarray, "items dim"], *, seed: int, report: Report | None = None
    ) -> Fit:
        """Learns the codebooks, see `Tokenizer.fit`.

        Raises:
            ValueError: as in `Tokenizer.fit`, or there are more levels than dimensions.
        """
        sizes = self.config.codebook_sizes
        check_fittable(vectors, sizes)
        dim, num_levels = vectors.shape[1], len(sizes)
        if dim < num_levels:
            raise ValueError(
                f"opq gives every level dimensions of its own, but the vectors have {dim} for "
                f"{num_levels} levels; use wider vectors, fewer codebook_sizes, or residual-kmeans."
            )
        is_rotated = self.config.rotate and num_levels > 1
        rounds = self.config.rotation_iterations if is_rotated else 0
        steps = rounds + num_levels

        def told(done: int) -> None:
            if report is not None:
                report("rotation and levels", done, steps)

        told(0)
        padded = np.pad(vectors.astype(np.float32), ((0, 0), (0, -dim % num_levels)))
        rotation = np.eye(padded.shape[1], dtype=np.float32)
        seeds = np.random.SeedSequence(seed).generate_state(num_levels + 1).tolist()
        if is_rotated:
            rotation = self._rotation(
                _sample(padded, max(_ROTATION_ITEMS, *sizes), seeds[-1]), seeds[:-1], told
            )
        levels = []
        for level, part in enumerate(_parts(padded @ rotation, num_levels)):
            levels.append(clustered(part, sizes[level], self.config, seed=seeds[level]))
            told(rounds + level + 1)
        tokenizer = ProductCodebooks(np.ascontiguousarray(rotation[:dim]), tuple(levels))
        return Fit(tokenizer=tokenizer, semantic_ids=tokenizer.encode(vectors))

    def _rotation(
        self,
        vectors: Float[np.ndarray, "items padded"],
        seeds: Sequence[int],
        told: Callable[[int], None],
    ) -> Float[np.ndarray, "padded padded"]:
        """Learns the rotation, which is multiplied from the right.

        Two steps alternate. First, the codewords are fitted to the rotated vectors. Then the
        rotation becomes the one that brings the vectors closest to their codewords (orthogonal
        Procrustes).
        """
        sizes = self.config.codebook_sizes
        rotation = balanced_axes(vectors, len(sizes))
        levels = [
            clustered(part, size, self.config, seed=seed)
            for part, size, seed in zip(
                _parts(vectors @ rotation, len(sizes)), sizes, seeds, strict=True
            )
        ]
        for done in range(self.config.rotation_iterations):
            parts = _parts(vectors @ rotation, len(sizes))
            before, levels, quantised = levels, [], []
            for part, level in zip(parts, before, strict=True):
                codewords, codes = moved(part, level)
                levels.append(codewords)
                quantised.append(codewords[codes])
            left, _, right = np.linalg.svd(vectors.T @ np.concatenate(quantised, axis=1))
            rotation = (left @ right).astype(np.float32)
            told(done + 1)
        return rotation


def balanced_axes(
    vectors: Float[np.ndarray, "items dim"], num_levels: int
) -> Float[np.ndarray, "dim dim"]:
    """Principal axes, dealt out to the levels so that all levels have a similar error.

    The error of a level grows with the product of its variances. So the axis of the next largest
    variance goes to the level of the smallest product that still has room (section 4 of the paper,
    Alg. 2).

    Args:
        vectors: vectors; their width is a multiple of the number of levels.
        num_levels: number of levels. Each level gets equally many columns, side by side.
    """
    variances, axes = np.linalg.eigh(np.cov(vectors.T.astype(np.float64)))
    # Factors of at least one only make products grow. A dimension that does not vary counts as
    # almost 0.
    logs = np.log(np.maximum(variances, variances[-1] * _LEAST_VARIANCE + _TINY))
    logs -= logs.min()
    room = vectors.shape[1] // num_levels
    dealt: list[list[int]] = [[] for _ in range(num_levels)]
    for axis in range(len(logs) - 1, -1, -1):
        open_levels = [level for level in dealt if len(level) < room]
        min(open_levels, key=lambda level: logs[level].sum()).append(axis)
    return axes[:, np.concatenate(dealt)].astype(np.float32)


def _parts(
    rotated: Float[np.ndarray, "items padded"], num_levels: int
) -> list[Float[np.ndarray, "items part"]]:
    """The dimensions of each level."""
    return [np.ascontiguousarray(part) for part in np.split(rotated, num_levels, axis=1)]


def _sample(
    vectors: Float[np.ndarray, "items dim"], number: int, seed: int
) -> Float[np.ndarray, "some dim"]:
    """A random sample of `number` vectors, or all vectors if there are fewer."""
    if len(vectors) <= number:
        return vectors
    chosen = np.random.default_rng(seed).choice(len(vectors), number, replace=False)
    return vectors[np.sort(chosen)]
