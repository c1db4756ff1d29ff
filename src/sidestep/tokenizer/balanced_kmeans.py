"""Balanced residual k-means: at each level, all codes have equally many items, to within one."""

import warnings
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, Field
from sklearn.cluster import kmeans_plusplus

from sidestep.tokenizer.balance import balanced_codes, sinkhorn_prices
from sidestep.tokenizer.codebooks import ResidualCodebooks, nearest
from sidestep.tokenizer.tokenizer import Fit, Report, TokenizerConfig
from sidestep.tokenizer.vectors import check_fittable

_FIRST_TEMPERATURE = 4.0
"""Temperature of the first round, a share as `temperature`. It is so high that a few rounds bring
prices near balance."""

_ITEMS_OF_SCALE = 10_000
"""Number of items on which the mean distance to the nearest codeword is measured."""

_ITEMS_PER_START = 32
"""Number of items per code among which the first codewords are chosen."""


class BalancedKMeansConfig(TokenizerConfig):
    """Configuration of balanced residual k-means."""

    iterations: int = Field(20, ge=1)
    """Rounds of prices, assignment and means per level."""

    full_iterations: int = Field(6, ge=1)
    """Rounds over all items, after the rounds over a sample, see `items_per_code`."""

    items_per_code: int = Field(128, ge=1)
    """Items per code in the first rounds: a larger catalog is reduced to a random sample of so many
    items per code."""

    temperature: float = Field(0.01, gt=0, le=1)
    """Softness of the assignments that find the prices, as a share of the mean squared distance to
    the nearest codeword. From round to round, it falls from 4 to this value."""

    price_rounds: int = Field(5, ge=1)
    """Sinkhorn iterations per round; they start from the prices of the round before."""


class BalancedKMeans:
    """Learns residual codebooks whose codes have equally many items, level by level.

    Balanced k-means with the assignment as a transport problem: Bradley, Bennett and Demiriz,
    "Constrained k-means clustering" (2000); for semantic IDs, OneRec (arXiv:2502.18965). Our
    choices: prices by Sinkhorn iterations, then a rounding to sizes that differ by at most one.

    The items of the fit keep the balanced assignment. A new item takes the codeword of least
    squared distance plus price. New items like those of the fit fill the codes evenly, and no code
    is ever full. The codes of a new item do not depend on the other new items.
    """

    Config: ClassVar[type[BaseModel]] = BalancedKMeansConfig

    def __init__(self, config: BalancedKMeansConfig) -> None:
        self.config = config

    def fit(
        self, vectors: Float[np.ndarray, "items dim"], *, seed: int, report: Report | None = None
    ) -> Fit:
        """Learns the codebooks, see `Tokenizer.fit`."""
        sizes = self.config.codebook_sizes
        check_fittable(vectors, sizes)
        generator = np.random.default_rng(seed)
        residuals = vectors.astype(np.float32)
        semantic_ids = np.empty((len(vectors), len(sizes)), dtype=np.int32)
        levels, prices = [], []
        for level, size in enumerate(sizes):
            if report is not None:
                report("levels", level, len(sizes))
            codewords, level_prices, codes = self._cluster(residuals, size, generator)
            residuals -= codewords[codes]
            semantic_ids[:, level] = codes
            levels.append(codewords)
            prices.append(level_prices)
        if report is not None:
            report("levels", len(sizes), len(sizes))
        tokenizer = ResidualCodebooks(tuple(levels), tuple(prices))
        return Fit(tokenizer=tokenizer, semantic_ids=semantic_ids)

    def _cluster(
        self, residuals: Float[np.ndarray, "items dim"], size: int, generator: np.random.Generator
    ) -> tuple[
        Float[np.ndarray, "codes dim"], Float[np.ndarray, " codes"], Int[np.ndarray, " items"]
    ]:
        """Codewords and prices of one level, and the codes of the items."""
        sample = residuals
        if len(residuals) > self.config.items_per_code * size:
            num_drawn = self.config.items_per_code * size
            sample = residuals[generator.choice(len(residuals), num_drawn, replace=False)]
        codewords = _initial(sample, size, generator)
        prices = np.zeros(size, dtype=np.float32)
        final = self.config.temperature
        passes = [
            (sample, np.geomspace(_FIRST_TEMPERATURE, final, self.config.iterations)),
            (residuals, np.geomspace(10 * final, final, self.config.full_iterations)),
        ]
        codes = np.empty(0, dtype=np.int32)
        for items, temperatures in passes:
            for temperature in temperatures.tolist():
                prices = self._repriced(items, codewords, prices, temperature)
                codes = balanced_codes(items, codewords, prices)
                codewords = means(items, codes, size)
        return codewords, self._repriced(residuals, codewords, prices, final), codes

    def _repriced(
        self,
        vectors: Float[np.ndarray, "items dim"],
        codewords: Float[np.ndarray, "codes dim"],
        prices: Float[np.ndarray, " codes"],
        temperature: float,
    ) -> Float[np.ndarray, " codes"]:
        """Prices after some rounds. The temperature is a share of the mean squared distance."""
        some = vectors[:: 1 + len(vectors) // _ITEMS_OF_SCALE]
        distances = some - codewords[nearest(some, codewords)]
        distortion = float(np.square(distances).sum(axis=1).mean())
        # If all residuals are zero, there is no scale; then any price is right.
        absolute = temperature * distortion or 1.0
        return sinkhorn_prices(
            vectors, codewords, prices, temperatures=[absolute] * self.config.price_rounds
        )


def _initial(
    vectors: Float[np.ndarray, "items dim"], size: int, generator: np.random.Generator
) -> Float[np.ndarray, "codes dim"]:
    """Vectors of items that lie far from each other, by k-means++."""
    seed = int(generator.integers(2**31))
    if len(vectors) > _ITEMS_PER_START * size:
        vectors = vectors[generator.choice(len(vectors), _ITEMS_PER_START * size, replace=False)]
    with warnings.catch_warnings():
        # If residuals are equal, several codes start at one place; sizes keep them apart.
        warnings.simplefilter("ignore")
        codewords, _ = kmeans_plusplus(vectors, size, random_state=seed)
    return np.ascontiguousarray(codewords, dtype=np.float32)


def means(
    vectors: Float[np.ndarray, "items dim"], codes: Int[np.ndarray, " items"], num_codes: int
) -> Float[np.ndarray, "codes dim"]:
    """Mean vector of the items of each code. Every code must have at least one item."""
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=num_codes)
    sums = np.add.reduceat(vectors[order], np.cumsum(counts) - counts, axis=0, dtype=np.float64)
    return (sums / counts[:, None]).astype(np.float32)
