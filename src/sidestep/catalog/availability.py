"""Availability: which items may be recommended now, pushed up the trie."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Availability:
    """A view of one trie in which unavailable items do not exist; `Trie.availability` makes it.

    live_leaves: leaves with an available item below each node (a leaf counts itself).
    bucket_start: as in the trie, for the available items.
    bucket_items: as in the trie, the available items alone.
    dense_legal: the trie's dense rows without the children that lead to no available item.
    """

    live_leaves: Int[Tensor, " nodes"]
    bucket_start: Int[Tensor, " leaves_plus_one"]
    bucket_items: Int[Tensor, " available_items"]
    dense_legal: Bool[Tensor, "dense_plus_one codes"]

    @property
    def num_items(self) -> int:
        """Available items."""
        return len(self.bucket_items)

    def to(self, device: torch.device | str) -> "Availability":
        """Copies the availability to `device`."""
        return Availability(
            live_leaves=self.live_leaves.to(device),
            bucket_start=self.bucket_start.to(device),
            bucket_items=self.bucket_items.to(device),
            dense_legal=self.dense_legal.to(device),
        )
