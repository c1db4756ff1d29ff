"""Metrics of semantic IDs of any origin: groups of items by prefix, compared with vectors and with
pairs of items.

Column b - 1 holds depth b. Only equality of codes counts: renaming the codes of a level changes no
metric.
"""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

_CHUNK_BYTES = 64 * 2**20

_TIE = 1e-6
"""Cosines of float32 vectors that differ by less than this count as equal."""


def prefix_numbers(
    semantic_ids: Int[np.ndarray, "items levels"],
) -> Int[np.ndarray, "items levels"]:
    """Number of each item's prefix among the prefixes of its depth, in lexicographic order.

    Two items share their first b codes if and only if their numbers in column b - 1 are equal.
    """
    order = np.lexsort(semantic_ids.T[::-1])
    ordered = semantic_ids[order]
    is_new = np.zeros(semantic_ids.shape, dtype=bool)
    is_new[1:] = np.logical_or.accumulate(ordered[1:] != ordered[:-1], axis=1)
    numbers = np.empty(semantic_ids.shape, dtype=np.int64)
    numbers[order] = is_new.cumsum(axis=0)
    return numbers


def explained_variance(
    vectors: Float[np.ndarray, "items dim"], prefixes: Int[np.ndarray, "items levels"]
) -> Float[np.ndarray, " levels"] | None:
    """Share of the vectors' variance about their mean that lies between prefixes, by depth.

        R²(b) = Σ_g n_g |m_g - m|² / Σ_i |v_i - m|²

    m is the mean of all vectors, m_g the mean of the n_g vectors of prefix g. 1 - R² is the
    relative squared error of the best single vector for each prefix. So no decoder of the same
    codes has a smaller error.

    Args:
        vectors: one per item.
        prefixes: see `prefix_numbers`.

    Returns:
        Shares from 0 to 1, which never fall with depth; None if all vectors are equal.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    total = np.square(centred).sum()
    if total <= np.finfo(np.float32).eps ** 2 * np.square(vectors, dtype=np.float64).sum():
        return None
    explained = np.empty(prefixes.shape[1])
    for level, groups in enumerate(prefixes.T):
        sums = _members(groups) @ centred  # [prefixes, dim]
        explained[level] = (np.square(sums).sum(axis=1) / np.bincount(groups)).sum() / total
    return explained


def chance_explained_variance(
    prefixes: Int[np.ndarray, "items levels"],
) -> Float[np.ndarray, " levels"]:
    """Mean of `explained_variance` if the same IDs were dealt to the items at random.

    It is (G - 1) / (N - 1) for G prefixes and N items.
    """
    by_chance: np.ndarray = prefixes.max(axis=0) / max(len(prefixes) - 1, 1)  # numbered from 0
    return by_chance


def neighbour_agreement(
    vectors: Float[np.ndarray, "items dim"],
    prefixes: Int[np.ndarray, "items levels"],
    *,
    k: int,
    queries: Int[np.ndarray, " queries"],
) -> Float[np.ndarray, " levels"]:
    """Share of the k nearest neighbours of an item that share its first b codes, by depth.

    The nearest neighbours are the items with the largest cosine. Neighbours that tie for the last
    places share these places, so the result does not depend on the order of the items. With fewer
    than k other items, all are neighbours.

    Args:
        vectors: one per item, none of them zero.
        prefixes: see `prefix_numbers`.
        k: number of neighbours of each item, without the item itself.
        queries: the items whose neighbours are looked up.
    """
    units = vectors.astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    k = min(k, len(units) - 1)
    shared = np.zeros(prefixes.shape[1])
    chunk = max(1, _CHUNK_BYTES // (4 * len(units)))
    for start in range(0, len(queries), chunk):
        asked = queries[start : start + chunk]
        cosines = units[asked] @ units.T
        cosines[np.arange(len(asked)), asked] = -np.inf
        last = np.partition(cosines, -k, axis=1)[:, -k, None]
        rows, found = np.nonzero(cosines >= last - _TIE)
        is_tied = cosines[rows, found] <= last[rows, 0] + _TIE
        num_tied = np.bincount(rows[is_tied], minlength=len(asked))
        num_nearer = np.bincount(rows[~is_tied], minlength=len(asked))
        weights = np.where(is_tied, ((k - num_nearer) / num_tied)[rows], 1.0)
        shared += weights @ (prefixes[asked[rows]] == prefixes[found])
    return shared / (k * len(queries))


def pair_agreement(
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    prefixes: Int[np.ndarray, "items levels"],
) -> Float[np.ndarray, " levels"]:
    """Share of pairs of items that share their first b codes, by depth. Needs at least one pair."""
    shared = np.zeros(prefixes.shape[1])
    chunk = max(1, _CHUNK_BYTES // (8 * prefixes.shape[1]))
    for start in range(0, len(first), chunk):
        part = slice(start, start + chunk)
        shared += (prefixes[first[part]] == prefixes[second[part]]).sum(axis=0)
    return shared / len(first)


def chance_agreement(
    prefixes: Int[np.ndarray, "items levels"], counts: Int[np.ndarray, " items"]
) -> Float[np.ndarray, " levels"]:
    """Probability that two different items drawn by their counts share their first b codes.

        (Σ_g C_g² - Σ_i c_i²) / (C² - Σ_i c_i²),  C_g the sum of c over prefix g, C over all

    With equal counts, this is the share of all pairs of items that share their first b codes. With
    interactions as counts, it is the share that popularity alone would give.

    Returns:
        Probabilities by depth; zeros if no two different items can be drawn.
    """
    counts = counts.astype(np.int64)  # exact: no prefix of one item may seem to have a pair
    same_item = int((counts**2).sum())
    num_pairs = int(counts.sum()) ** 2 - same_item
    chance = np.zeros(prefixes.shape[1])
    for level, groups in enumerate(prefixes.T):
        sums = _members(groups) @ counts
        chance[level] = (int((sums**2).sum()) - same_item) / max(num_pairs, 1)
    return chance


def _members(groups: Int[np.ndarray, " items"]) -> scipy.sparse.csr_array:
    """Matrix with one row per group, which is 1 at each item of the group."""
    num_items = len(groups)
    ones = np.ones(num_items, dtype=np.int64)
    return scipy.sparse.csr_array(
        (ones, (groups, np.arange(num_items))), shape=(int(groups.max()) + 1, num_items)
    )
