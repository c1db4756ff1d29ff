"""The trie as flat arrays, built by sorting: no Python per item or node.

Nodes are numbered breadth first and lexicographically, the root is 0: a node's children are
contiguous and ascend by code, and the leaves are the last nodes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Integer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlatTrie:
    """The trie of a set of semantic IDs.

    codes: the last code of each node's prefix; 0 at the root, which has none.
    child_start: the children of node n are nodes `child_start[n]` to `child_start[n + 1]`.
    bucket_start: leaf number l holds `bucket_items[bucket_start[l]:bucket_start[l + 1]]`.
    bucket_items: item indices leaf by leaf; within a bucket by popularity, then by index.
    leaf_of: the leaf of each item, as a node.
    depth_starts: first node of each depth, and the number of nodes at the end.
    """

    codes: Integer[np.ndarray, " nodes"]
    child_start: Int[np.ndarray, " inner_plus_one"]
    bucket_start: Int[np.ndarray, " leaves_plus_one"]
    bucket_items: Int[np.ndarray, " items"]
    leaf_of: Int[np.ndarray, " items"]
    depth_starts: tuple[int, ...]


def check_bounds(flat: FlatTrie, codebook_sizes: tuple[int, ...]) -> None:
    """Raises a `ValueError` where arrays from a file, of the right lengths, cannot be a trie's.

    What holds items is not read, so that a large catalog is mapped fast; `check_content` reads all.
    """
    starts = flat.depth_starts
    widths = np.diff(starts)
    if starts[:2] != (0, 1) or (widths < 1).any():
        raise ValueError("depth_starts does not ascend from 0 and 1")
    # Each inner node has children, and those of a depth are the nodes of the next one.
    for name, array, first, end in (
        ("child_start", flat.child_start, 1, starts[-1]),
        ("bucket_start", flat.bucket_start, 0, len(flat.bucket_items)),
    ):
        if array[0] != first or array[-1] != end or (array[1:] <= array[:-1]).any():
            raise ValueError(f"{name} does not ascend from {first} to {end}")
    if tuple(flat.child_start[list(starts[:-1])].tolist()) != starts[1:]:
        raise ValueError("child_start is not that of depth_starts")
    for level, size in enumerate(codebook_sizes):
        codes = flat.codes[starts[level + 1] : starts[level + 2]]
        if codes.min() < 0 or codes.max() >= size:
            raise ValueError(f"codes holds one outside the codebook of level {level + 1}")


def check_content(
    flat: FlatTrie,
    codebook_sizes: tuple[int, ...],
    semantic_ids: Int[np.ndarray, "items levels"],
) -> None:
    """Raises a `ValueError` unless arrays that passed `check_bounds` are those of these IDs."""
    starts, codes = flat.depth_starts, flat.codes
    if not is_permutation(flat.bucket_items):
        raise ValueError("bucket_items does not hold every item once")
    leaves = np.repeat(np.arange(starts[-2], starts[-1]), np.diff(flat.bucket_start))
    if not np.array_equal(flat.leaf_of[flat.bucket_items], leaves):
        raise ValueError("leaf_of does not lead to the bucket of every item")
    parents = np.concatenate([[-1], np.repeat(np.arange(starts[-2]), np.diff(flat.child_start))])
    is_sibling = parents[1:] == parents[:-1]
    if (codes[1:][is_sibling] <= codes[:-1][is_sibling]).any():
        raise ValueError("the codes of siblings do not ascend")
    if first_out_of_range(semantic_ids, codebook_sizes) is not None:
        raise ValueError("semantic_ids holds a code outside its codebook")
    nodes = flat.leaf_of
    for level in reversed(range(len(codebook_sizes))):
        if not np.array_equal(codes[nodes], semantic_ids[:, level]):
            raise ValueError(f"codes are not those of semantic_ids at level {level + 1}")
        nodes = parents[nodes]


def is_permutation(indices: Int[np.ndarray, " n"]) -> bool:
    """Whether every index below their number stands among them once."""
    num = len(indices)
    is_index = (indices >= 0) & (indices < num)
    return bool(is_index.all()) and bool((np.bincount(indices, minlength=num) == 1).all())


def first_out_of_range(
    semantic_ids: Int[np.ndarray, "items levels"], codebook_sizes: tuple[int, ...]
) -> tuple[int, int] | None:
    """Row and column of a code outside its codebook; None when there is no such code."""
    for level, size in enumerate(codebook_sizes):
        column = semantic_ids[:, level]
        if column.min() < 0 or column.max() >= size:
            return int(np.argmax((column < 0) | (column >= size))), level
    return None


def build_flat(
    semantic_ids: Int[np.ndarray, "items levels"],
    codebook_sizes: tuple[int, ...],
    popularity: Int[np.ndarray, " items"] | None,
) -> FlatTrie:
    """Sorts the items by semantic ID and reads the nodes off the places where a prefix changes.

    Args:
        semantic_ids: at least one item; every code within its codebook.
        codebook_sizes: codes per level.
        popularity: orders the items of a bucket, descending; None orders them by index.
    """
    num_items = len(semantic_ids)
    items, columns = _sorted(semantic_ids, codebook_sizes, popularity)
    item_dtype = items.dtype.type

    is_first = np.zeros(num_items, dtype=bool)
    is_first[0] = True
    firsts = np.zeros(1, dtype=item_dtype)  # the first item below each node of the last depth
    codes = [np.zeros(1, dtype=columns[0].dtype)]
    starts, counts = [], [1]
    for column in columns:
        is_first[1:] |= column[1:] != column[:-1]
        node_of = np.cumsum(is_first, dtype=item_dtype) - item_dtype(1)  # within this depth
        starts.append(node_of[firsts])
        firsts = np.flatnonzero(is_first).astype(item_dtype)
        codes.append(column[firsts])
        counts.append(len(firsts))
    depth_starts = tuple(np.cumsum([0, *counts]).tolist())
    num_nodes = depth_starts[-1]
    node_dtype = np.int32 if num_nodes < 2**31 else np.int64

    leaf_of = np.empty(num_items, dtype=node_dtype)
    leaf_of[items] = node_of + node_dtype(depth_starts[-2])
    child_start = [
        start + node_dtype(first) for start, first in zip(starts, depth_starts[1:-1], strict=True)
    ]
    return FlatTrie(
        codes=np.concatenate(codes),
        child_start=np.concatenate([*child_start, np.array([num_nodes], dtype=node_dtype)]),
        bucket_start=np.append(firsts, item_dtype(num_items)),
        bucket_items=items,
        leaf_of=leaf_of,
        depth_starts=depth_starts,
    )


def _sorted(
    semantic_ids: Int[np.ndarray, "items levels"],
    codebook_sizes: tuple[int, ...],
    popularity: Int[np.ndarray, " items"] | None,
) -> tuple[Int[np.ndarray, " items"], list[Integer[np.ndarray, " items"]]]:
    """Items in the order of their semantic IDs, and their codes in that order, level by level."""
    num_items = len(semantic_ids)
    item_dtype = np.int32 if num_items < 2**31 - 1 else np.int64
    code_dtype = next(t for t in _CODE_DTYPES if max(codebook_sizes) - 1 <= np.iinfo(t).max)
    by_popularity = None
    if popularity is not None:
        by_popularity = np.argsort(-popularity.astype(np.int64), kind="stable").astype(item_dtype)
        semantic_ids = semantic_ids[by_popularity]
    code_bits = [(size - 1).bit_length() for size in codebook_sizes]
    rank_bits = (num_items - 1).bit_length()
    if sum(code_bits) + rank_bits <= 63:
        # One integer holds a semantic ID and, below it, the item's rank: a single sort in place
        # gives both, and items of equal semantic IDs stay in the order of their ranks.
        packed = np.zeros(num_items, dtype=np.int64)
        for level, bits in enumerate(code_bits):
            packed <<= bits
            np.bitwise_or(packed, semantic_ids[:, level], out=packed)
        packed <<= rank_bits
        np.bitwise_or(packed, np.arange(num_items, dtype=item_dtype), out=packed)
        packed.sort()
        order = (packed & ((1 << rank_bits) - 1)).astype(item_dtype)
        columns = []
        shift = rank_bits + sum(code_bits)
        for bits in code_bits:
            shift -= bits
            columns.append(((packed >> shift) & ((1 << bits) - 1)).astype(code_dtype))
    else:
        order = np.lexsort(semantic_ids.T[::-1]).astype(item_dtype)
        columns = [
            semantic_ids[order, level].astype(code_dtype) for level in range(len(codebook_sizes))
        ]
    return (order if by_popularity is None else by_popularity[order]), columns


# Torch indexes and compares these; it lacks most operations on wider unsigned integers.
_CODE_DTYPES = (np.uint8, np.int16, np.int32, np.int64)
