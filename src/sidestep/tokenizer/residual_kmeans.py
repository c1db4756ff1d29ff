"""Residual k-means: each level clusters what the levels before could not explain."""

import warnings

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from sidestep.tokenizer.codebooks import ResidualCodebooks, nearest


class ResidualKMeansConfig(BaseModel):
    """How vectors become codebooks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codebook_sizes: tuple[int, ...] = Field((256, 256, 256), min_length=1)
    """Codes per level, from the first to the last."""

    max_iterations: int = Field(100, ge=1)
    """Passes over the items per level."""

    num_starts: int = Field(1, ge=1)
    """Initialisations per level, of which the best is kept."""

    max_full_items: int = Field(200_000, ge=1)
    """Above this many items the clustering learns from mini-batches."""

    @field_validator("codebook_sizes")
    @classmethod
    def _check_sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if min(sizes) < 2:
            raise ValueError(f"every codebook needs at least 2 codes, got {sizes}.")
        return sizes


def suggested_codebook_sizes(vectors: Float[np.ndarray, "items dim"]) -> tuple[int, ...]:
    """Three equal codebooks that fit a catalog: 256 codes each, fewer below 1,024 distinct vectors.

    Four items per first code on average are few enough to tell apart and enough to share.
    """
    num_distinct = len(np.unique(vectors, axis=0))
    size = 256
    while size > 2 and 4 * size > num_distinct:
        size //= 2
    return (size,) * 3


class ResidualKMeans:
    """Learns residual codebooks by k-means, level by level.

    Source: residual vector quantisation, Chen, Guan and Wang 2010; for semantic IDs, RQ-KMeans of
    OneRec (arXiv:2502.18965).
    """

    def __init__(self, config: ResidualKMeansConfig) -> None:
        self.config = config

    def fit(self, vectors: Float[np.ndarray, "items dim"], *, seed: int) -> ResidualCodebooks:
        """Learns the codebooks; the same vectors, seed and thread count give the same codebooks.

        Args:
            vectors: one per item, in any unit; distances between them are what is kept.
            seed: of the initial codewords of all levels.

        Raises:
            ValueError: vectors that are not finite, or too few for the codebooks.
        """
        self._check(vectors)
        residuals = vectors.astype(np.float32)
        seeds = np.random.SeedSequence(seed).generate_state(len(self.config.codebook_sizes))
        levels = []
        for size, level_seed in zip(self.config.codebook_sizes, seeds, strict=True):
            codewords = self._cluster(residuals, size, int(level_seed))
            residuals -= codewords[nearest(residuals, codewords)]
            levels.append(codewords)
        return ResidualCodebooks(tuple(levels))

    def _cluster(
        self, residuals: Float[np.ndarray, "items dim"], size: int, seed: int
    ) -> Float[np.ndarray, "codes dim"]:
        """The codewords of one level."""
        arguments = {
            "n_clusters": size,
            "max_iter": self.config.max_iterations,
            "n_init": self.config.num_starts,
            "random_state": seed,
        }
        if len(residuals) > self.config.max_full_items:
            estimator = MiniBatchKMeans(batch_size=max(16 * size, 4096), **arguments)
        else:
            estimator = KMeans(**arguments)
        with warnings.catch_warnings():
            # Fewer distinct residuals than codes leave codes unused, which is legal: the
            # reassignment of collisions makes use of them.
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(residuals)
        return np.ascontiguousarray(estimator.cluster_centers_, dtype=np.float32)

    def _check(self, vectors: Float[np.ndarray, "items dim"]) -> None:
        sizes = self.config.codebook_sizes
        is_bad = ~np.isfinite(vectors).all(axis=1)
        if is_bad.any():
            raise ValueError(
                f"{int(is_bad.sum())} of {len(vectors)} vectors hold NaN or infinity, the first is "
                f"item {int(is_bad.argmax())}; mend the embedding."
            )
        if max(sizes) > len(vectors):
            level = int(np.argmax(sizes)) + 1
            raise ValueError(
                f"level {level} has {max(sizes)} codes, but there are only {len(vectors)} items; "
                f"choose codebook_sizes of at most {len(vectors)}, better far below."
            )
        num_distinct = len(np.unique(vectors, axis=0))
        if sizes[0] > num_distinct:
            raise ValueError(
                f"level 1 has {sizes[0]} codes, but the {len(vectors)} items have only "
                f"{num_distinct} distinct vectors; lower codebook_sizes[0] or embed more text."
            )
