"""Collaborative vectors: items that the same users take are near, whatever their texts say.

The vectors come from co-occurrence in users' sequences, or from the item table of a trained
network. Use only the training part: a pair that holds a held-out target would leak it into the
codes.
"""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from sklearn.utils.extmath import randomized_svd

from sidestep.embedding.config import CollaborativeConfig
from sidestep.embedding.vectors import unit_length
from sidestep.item_pairs import pair_sums


def cooccurrence_svd(
    items: Int[np.ndarray, " interactions"],
    offsets: Int[np.ndarray, " bounds"],
    config: CollaborativeConfig,
    *,
    num_items: int,
    seed: int,
    weights: Float[np.ndarray, " interactions"] | None = None,
) -> Float[np.ndarray, "{num_items} dim"]:
    """Factorises the shifted positive pointwise mutual information of items within a window.

        PMI[i, j] = log(c[i, j] · Σ_k c[k]^s / (c[i] · c[j]^s)),  M = max(0, PMI - log(shift)),
        vectors = U · S^(1/2) of the truncated SVD of M

    Source: Levy and Goldberg 2014; the smoothing s and the square root from Levy et al. 2015.
    Our choices: a pair at distance d counts 1/d, times the weights of both interactions if there
    are weights. An item does not co-occur with itself. Rows are scaled to unit length.

    Args:
        items: item indices of all users one after the other, the oldest item of a user first.
        offsets: user u owns `items[offsets[u]:offsets[u + 1]]`.
        config: settings of the factorisation.
        num_items: number of rows of the result.
        seed: seed of the randomised SVD.
        weights: weights of the interactions. None: all weigh 1.

    Returns:
        Vectors in float32; zeros for items that co-occur with no other item.

    Raises:
        ValueError: an index is out of range, no two items co-occur, or `dim` is too large.
    """
    if config.dim > num_items:
        raise ValueError(f"dim is {config.dim}, but there are only {num_items} items; lower dim.")
    if len(items) and (items.min() < 0 or items.max() >= num_items):
        raise ValueError(
            f"item indices must lie in 0..{num_items - 1}, got {items.min()}..{items.max()}."
        )
    counts = _cooccurrence(items, offsets, config.window, num_items, weights)
    if counts.nnz == 0:
        raise ValueError(
            "no two items stand in the same user's training sequence; collaborative vectors need "
            "users with at least two training interactions."
        )
    left = np.asarray(counts.sum(axis=1)).ravel()
    right = left**config.smoothing
    rows, columns = counts.nonzero()
    pmi = np.log(counts.data * right.sum() / (left[rows] * right[columns])) - np.log(config.shift)
    is_positive = pmi > 0
    matrix = scipy.sparse.csr_matrix(
        (pmi[is_positive], (rows[is_positive], columns[is_positive])), shape=counts.shape
    )
    if matrix.nnz == 0:
        raise ValueError(f"no pair of items exceeds shift = {config.shift}; lower it.")
    U, S, _ = randomized_svd(matrix, config.dim, n_iter=7, random_state=seed)
    vectors = (U * np.sqrt(S)).astype(np.float32)
    # Rounding leaves 1e-17 in the rows of items without a pair; scaling to unit length would blow
    # these numbers up.
    vectors[np.diff(matrix.indptr) == 0] = 0
    return unit_length(vectors)


def item_table_vectors(
    table: Float[np.ndarray, "items dim"], counts: Int[np.ndarray, " items"]
) -> Float[np.ndarray, "items dim"]:
    """Vectors from the item table of a network that was trained on the training part.

    Such a network is SASRec.

    Args:
        table: the network's vector of each item.
        counts: number of occurrences of each item in the training part.

    Returns:
        Vectors in float32 of length 1; zeros for items that never occur in training, because the
        network only has their random initial vectors.
    """
    return unit_length(np.where(counts[:, None] > 0, table, 0).astype(np.float32))


def _cooccurrence(
    items: Int[np.ndarray, " interactions"],
    offsets: Int[np.ndarray, " bounds"],
    window: int,
    num_items: int,
    weights: Float[np.ndarray, " interactions"] | None,
) -> scipy.sparse.csr_array:
    """Symmetric co-occurrence counts with an empty diagonal; see `cooccurrence_svd`."""
    total = pair_sums(
        items,
        offsets,
        num_items,
        factors=[1 / distance for distance in range(1, window + 1)],
        first_weights=weights,
        second_weights=weights,
    )
    symmetric: scipy.sparse.csr_array = (total + total.T).tocsr()
    symmetric.setdiag(0)
    symmetric.eliminate_zeros()
    return symmetric
