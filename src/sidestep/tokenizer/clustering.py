"""One set of codewords for one set of vectors, by k-means."""

import warnings

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from sidestep.tokenizer.tokenizer import TokenizerConfig


class ClusteringConfig(TokenizerConfig):
    """How the codewords of a level are sought."""

    max_iterations: int = Field(100, ge=1)
    """Passes over the items per level."""

    num_starts: int = Field(1, ge=1)
    """Initialisations per level, of which the best is kept."""

    max_full_items: int = Field(200_000, ge=1)
    """Above this many items the clustering learns from mini-batches."""


def clustered(
    vectors: Float[np.ndarray, "items dim"], size: int, config: ClusteringConfig, *, seed: int
) -> Float[np.ndarray, "codes dim"]:
    """The centres of `size` clusters, from a start by k-means++."""
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
    """The codewords after one more round of k-means, and the nearest one of each vector."""
    estimator = KMeans(len(codewords), init=codewords, n_init=1, max_iter=1)
    _fit(estimator, vectors)
    return np.ascontiguousarray(estimator.cluster_centers_, dtype=np.float32), estimator.labels_


def _fit(estimator: KMeans | MiniBatchKMeans, vectors: Float[np.ndarray, "items dim"]) -> None:
    """Fits without a word about codes that stay unused."""
    with warnings.catch_warnings():
        # Fewer distinct vectors than codes leave codes unused, which is legal: the
        # reassignment of collisions makes use of them.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(vectors)
