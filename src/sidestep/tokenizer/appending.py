"""Appending: last codes for new items of a catalog whose semantic IDs must not change."""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from sidestep.tokenizer.choices import FullGroupPolicy


def append_last_codes(
    existing: Int[np.ndarray, "old levels"],
    semantic_ids: Int[np.ndarray, "new levels"],
    last_residuals: Float[np.ndarray, "new dim"],
    last_codewords: Float[np.ndarray, "codes dim"],
    *,
    full_groups: FullGroupPolicy = "refuse",
) -> Int[np.ndarray, "new levels"]:
    """Gives new items semantic IDs that no other item has, at the least squared distance.

    The new items under one prefix of L-1 codes are a group. If the nearest last codes of a group
    are free and distinct, its items keep these codes. Otherwise the group gets distinct codes among
    the last codes that no existing item under the prefix has. These codes minimise the sum of
    |residual - codeword|² (a linear assignment, solved exactly). So the result does not depend on
    the order of the items, unless distances are equal.

    Args:
        existing: semantic IDs of the catalog; they are never changed.
        semantic_ids: the nearest codes of the new items.
        last_residuals: residual of each new item's vector after the first L-1 codes.
        last_codewords: the codebook of the last level.
        full_groups: policy for a group with more items than free codes. `share` assigns the free
            codes at the least total distance. An item without a free code keeps its nearest code,
            in a bucket with others.

    Returns:
        The semantic IDs of the new items. Their first L-1 codes are unchanged.

    Raises:
        ValueError: a group has more items than free codes, and may not share.
    """
    appended = semantic_ids.copy()
    groups = _groups(semantic_ids[:, :-1])
    taken = _taken_codes(existing, groups)
    num_free = {prefix: len(last_codewords) - len(codes) for prefix, codes in taken.items()}
    crowded = {
        prefix: (len(items), num_free[prefix])
        for prefix, items in groups.items()
        if len(items) > num_free[prefix]
    }
    if crowded and full_groups == "refuse":
        raise ValueError(_full_message(crowded, len(last_codewords)))
    for prefix, items in groups.items():
        codes = semantic_ids[items, -1]
        if len(np.unique(codes)) == len(codes) and not np.isin(codes, taken[prefix]).any():
            continue
        free = np.setdiff1d(np.arange(len(last_codewords)), taken[prefix])
        differences = last_residuals[items, None, :] - last_codewords[None, free, :]
        costs = np.square(differences, dtype=np.float64).sum(axis=2)  # [group, free]
        rows, columns = linear_sum_assignment(costs)
        appended[items[rows], -1] = free[columns]
    return appended


def append_numbers(
    existing: Int[np.ndarray, "old levels_plus_one"], semantic_ids: Int[np.ndarray, "new levels"]
) -> Int[np.ndarray, "new levels_plus_one"]:
    """Gives new items a last code that numbers the items of each bucket, see `with_numbers`.

    The new items of a bucket get its lowest free numbers, in the order of their rows. There is no
    highest number: if a bucket becomes the largest, the last codebook has to grow.

    Args:
        existing: semantic IDs of the catalog, with numbers; they are never changed.
        semantic_ids: codes of the new items, without numbers.
    """
    groups = _groups(semantic_ids)
    taken = _taken_codes(existing, groups)
    numbers = np.empty(len(semantic_ids), dtype=semantic_ids.dtype)
    for bucket, items in groups.items():
        # At least len(items) of these numbers are free.
        candidates = np.arange(len(taken[bucket]) + len(items))
        numbers[items] = np.setdiff1d(candidates, taken[bucket])[: len(items)]
    return np.concatenate([semantic_ids, numbers[:, None]], axis=1)


Prefix = tuple[int, ...]


def _groups(prefixes: Int[np.ndarray, "new codes"]) -> dict[Prefix, Int[np.ndarray, " group"]]:
    """Groups new items by prefix, in the order in which the prefixes first appear."""
    groups: dict[Prefix, list[int]] = {}
    for item, prefix in enumerate(map(tuple, prefixes.tolist())):
        groups.setdefault(prefix, []).append(item)
    return {prefix: np.array(items) for prefix, items in groups.items()}


def _taken_codes(
    existing: Int[np.ndarray, "old levels"], groups: dict[Prefix, Int[np.ndarray, " group"]]
) -> dict[Prefix, Int[np.ndarray, " codes"]]:
    """The last codes that existing items hold under each of the prefixes."""
    taken: dict[Prefix, set[int]] = {prefix: set() for prefix in groups}
    # There are few prefixes and many existing items: the first codes rule out most of the items.
    near = existing
    if existing.shape[1] > 1:
        near = existing[np.isin(existing[:, 0], [prefix[0] for prefix in groups])]
    for row in near.tolist():
        prefix = tuple(row[:-1])
        if prefix in taken:
            taken[prefix].add(row[-1])
    return {prefix: np.array(sorted(codes), dtype=np.int64) for prefix, codes in taken.items()}


def _full_message(crowded: dict[Prefix, tuple[int, int]], num_codes: int) -> str:
    prefix, (num_items, num_free) = max(
        crowded.items(), key=lambda entry: entry[1][0] - entry[1][1]
    )
    return (
        f"{len(crowded)} prefix groups have fewer free last codes than new items; under {prefix} "
        f"{num_free} of {num_codes} codes are free for {num_items} items. Let items without a "
        'free code share their nearest semantic ID (full groups "share"), or tokenize and train '
        "again with larger codebooks. Items with equal vectors, such as items about which nothing "
        "is known, share all codes but the last."
    )
