"""Buckets of code sets: the items that have all codes in common.

The item with the smallest index stands for its bucket.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.padding import NO_ITEM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetBuckets:
    """Items with the same codes in all codebooks; make the buckets with `build`.

    first_items: for each item, the smallest index of an item with equal codes, its own included.
    bucket_of: the number of the bucket of each item.
    starts: bucket number k holds `items[starts[k]:starts[k + 1]]`.
    items: bucket by bucket; within a bucket by popularity, then by index.
    """

    first_items: Int[Tensor, " items"]
    bucket_of: Int[Tensor, " items"]
    starts: Int[Tensor, " buckets_plus_one"]
    items: Int[Tensor, " items"]

    @staticmethod
    def build(
        codes: Int[np.ndarray, "items codebooks"],
        codebook_sizes: tuple[int, ...],
        popularity: Int[np.ndarray, " items"] | None,
    ) -> "SetBuckets":
        """Groups the items by one sort.

        Args:
            codes: row i is item i.
            codebook_sizes: codes per codebook.
            popularity: orders the items of a bucket, descending; None leaves their order.
        """
        words = _packed(codes, codebook_sizes)
        unpopularity = [] if popularity is None else [-popularity.astype(np.int64)]
        order = np.lexsort([*unpopularity, *words])
        is_start = np.ones(len(order), dtype=bool)
        is_start[1:] = np.any([word[order][1:] != word[order][:-1] for word in words], axis=0)
        starts = np.append(np.flatnonzero(is_start), len(order))
        bucket_of = np.empty(len(order), dtype=np.int32)
        bucket_of[order] = is_start.cumsum() - 1
        firsts = np.minimum.reduceat(order, starts[:-1]).astype(np.int32)
        return SetBuckets(
            first_items=torch.from_numpy(firsts[bucket_of]),
            bucket_of=torch.from_numpy(bucket_of),
            starts=torch.from_numpy(starts.astype(np.int32)),
            items=torch.from_numpy(order.astype(np.int32)),
        )

    def to(self, device: torch.device | str) -> "SetBuckets":
        """Copies the buckets to `device`."""
        return SetBuckets(
            first_items=self.first_items.to(device),
            bucket_of=self.bucket_of.to(device),
            starts=self.starts.to(device),
            items=self.items.to(device),
        )

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.first_items, self.bucket_of, self.starts, self.items)
        return sum(array.nbytes for array in arrays)

    def sizes_with(self, firsts: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The number of items in the bucket of each item; any number for `NO_ITEM`."""
        starts, stops = self.ranges(firsts)
        return stops - starts

    def ranges(self, firsts: Int[Tensor, " n"]) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The range in `items` of the bucket of each item; any range for `NO_ITEM`."""
        buckets = self.bucket_of.index_select(0, firsts.clamp(min=0)).long()
        starts, stops = (self.starts.index_select(0, buckets + end).long() for end in (0, 1))
        return starts, stops

    def items_with(self, firsts: Int[Tensor, " n"]) -> Int[Tensor, "n bucket"]:
        """The items of the bucket of each item, padded with `NO_ITEM`; none for `NO_ITEM`."""
        start, stop = self.ranges(firsts)
        stop = torch.where(firsts < 0, start, stop)
        length = max(1, int((stop - start).max())) if len(firsts) else 1
        positions = start[:, None] + torch.arange(length, device=firsts.device)
        found = self.items[positions.clamp(max=len(self.items) - 1)].long()
        return found.masked_fill_(positions >= stop[:, None], NO_ITEM)


def _packed(
    codes: Int[np.ndarray, "items codebooks"], codebook_sizes: tuple[int, ...]
) -> list[np.ndarray]:
    """The codes of each row as few unsigned numbers of 64 bits; equal rows have equal numbers."""
    words: list[np.ndarray] = []
    room = 0
    for column, size in zip(codes.T, codebook_sizes, strict=True):
        if not words or size > room:
            words.append(np.zeros(len(codes), dtype=np.uint64))
            room = 2**64
        words[-1] = words[-1] * np.uint64(size) + column.astype(np.uint64)
        room //= size
    return words
