"""Clustering: finds a set of codewords for a set of vectors, by k-means."""

import warnings

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from sidestep.tokenizer.tokenizer import TokenizerConfig


class ClusteringConfig(TokenizerConfig):
    """Configuration of the k-means that finds the codewords of a level."""

    max_iterations: int = Field(100, ge=1)
    """Passes over the items per level."""

    num_starts: int = Field(1, ge=1)
    """Initialisations per level; the best one is kept."""

    max_full_items: int = Field(200_000, ge=1)
    """With more items than this, the clustering learns from mini-batches."""


def clustered(
    vectors: Float[np.ndarray, "items dim"], size: int, config: ClusteringConfig, *, seed: int
) -> Float[np.ndarray, "codes dim"]:
    """Centres of `size` clusters, by k-means from a start by k-means++."""
    arguments = {
        "n_clusters": size,
        "max_iter": config.max_iterations,
        "n_init": config.num_starts,
        "random_state": seed,
    }
    if len(vectors) > config.max_full_items:
        estimator = MiniBatchKMeans(batch_size=max(16 * size, 4096), **arguments)
    else:
        estimator = KMeans(**arguments)
    _fit(estimator, vectors)
    return np.ascontiguousarray(estimator.cluster_centers_, dtype=np.float32)


def moved(
    vectors: Float[np.ndarray, "items dim"], codewords: Float[np.ndarray, "codes dim"]
) -> tuple[Float[np.ndarray, "codes dim"], Int[np.ndarray, " items"]]:
    """The codewords after one more round of k-means, and the nearest codeword of each vector."""
    estimator = KMeans(len(codewords), init=codewords, n_init=1, max_iter=1)
    _fit(estimator, vectors)
    return np.ascontiguousarray(estimator.cluster_centers_, dtype=np.float32), estimator.labels_


def _fit(estimator: KMeans | MiniBatchKMeans, vectors: Float[np.ndarray, "items dim"]) -> None:
    """Fits without a warning about codes that stay unused."""
    with warnings.catch_warnings():
        # With fewer distinct vectors than codes, some codes stay unused. That is legal: the
        # reassignment of collisions makes use of these codes.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(vectors)
