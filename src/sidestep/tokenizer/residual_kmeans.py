"""Residual k-means: each level clusters the residuals of the levels before it."""

from typing import ClassVar

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel

from sidestep.tokenizer.clustering import ClusteringConfig, clustered
from sidestep.tokenizer.codebooks import ResidualCodebooks, nearest
from sidestep.tokenizer.tokenizer import Fit, Report
from sidestep.tokenizer.vectors import check_fittable


class ResidualKMeansConfig(ClusteringConfig):
    """Configuration of residual k-means."""


class ResidualKMeans:
    """Learns residual codebooks by k-means, level by level.

    Source: residual vector quantisation, Chen, Guan and Wang 2010; for semantic IDs, RQ-KMeans of
    OneRec (arXiv:2502.18965).
    """

    Config: ClassVar[type[BaseModel]] = ResidualKMeansConfig

    def __init__(self, config: ResidualKMeansConfig) -> None:
        self.config = config

    def fit(
        self, vectors: Float[np.ndarray, "items dim"], *, seed: int, report: Report | None = None
    ) -> Fit:
        """Learns the codebooks, see `Tokenizer.fit`."""
        sizes = self.config.codebook_sizes
        check_fittable(vectors, sizes)
        residuals = vectors.astype(np.float32)
        semantic_ids = np.empty((len(vectors), len(sizes)), dtype=np.int32)
        seeds = np.random.SeedSequence(seed).generate_state(len(sizes))
        levels = []
        for level, (size, level_seed) in enumerate(zip(sizes, seeds, strict=True)):
            if report is not None:
                report("levels", level, len(sizes))
            codewords = clustered(residuals, size, self.config, seed=int(level_seed))
            semantic_ids[:, level] = nearest(residuals, codewords)
            residuals -= codewords[semantic_ids[:, level]]
            levels.append(codewords)
        if report is not None:
            report("levels", len(sizes), len(sizes))
        return Fit(tokenizer=ResidualCodebooks(tuple(levels)), semantic_ids=semantic_ids)
