"""Exclusion: items that one user must not get, kept out of the search itself."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.availability import Availability
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.catalog.user_sets import distinct, is_among


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Per user, the edges of the trie below which every item is excluded.

    What all users lack belongs into an `Availability`, which costs nothing per user.

    items: the excluded items of each user, ascending and each once; `NO_ITEM` is padding.
    parents: by depth, the state above each closed edge, ascending; `NO_STATE` is padding.
    codes: by depth, the code of each closed edge.
    """

    items: Int[Tensor, "users items"]
    parents: Int[Tensor, "users levels items"]
    codes: Int[Tensor, "users levels items"]

    @staticmethod
    def of(
        items: Int[Tensor, "users items"], trie: Trie, available: Availability | None = None
    ) -> "Exclusion":
        """Closes every prefix that leads to nothing but the given items.

        Args:
            items: what each user must not get, in any order; `NO_ITEM` is padding.
            trie: of the catalog.
            available: items outside it are closed for everyone already.
        """
        items = distinct(items)
        leaves = trie.leaf_of(items)
        if available is not None:
            leaves = leaves.masked_fill(~trie.is_available(items, available), NO_STATE)
        # A leaf is closed when its whole bucket is excluded; a node when all its live leaves are.
        states, num_closed = _counted(leaves)
        is_shut = num_closed == trie.bucket_sizes(states, available)
        states = states.masked_fill((states == NO_STATE) | ~is_shut, NO_STATE)
        parents, codes = [], []
        for depth in range(trie.num_levels, 0, -1):
            # Every state here is a closed leaf of its own, so counting states counts leaves.
            nodes, num_closed = _counted(trie.ancestor(states, depth))
            if available is None:
                first, last = trie.leaf_range(nodes)
                num_open = last - first
            else:
                num_open = available.live_leaves[nodes.clamp(min=0)].long()
            is_shut = (nodes != NO_STATE) & (num_closed == num_open)
            above, order = trie.parent(nodes).masked_fill(~is_shut, NO_STATE).sort(dim=1)
            parents.append(above)
            codes.append(trie.codes_of(nodes).clamp(min=0).gather(1, order))
        return Exclusion(
            items=items,
            parents=torch.stack(parents[::-1], dim=1),
            codes=torch.stack(codes[::-1], dim=1),
        )

    def open_codes(
        self,
        legal: Bool[Tensor, "users width codes"],
        states: Int[Tensor, "users width"],
        depth: int,
    ) -> Bool[Tensor, "users width codes"]:
        """`legal` without the closed edges below `states`, which are all of `depth`."""
        parents, codes = self.parents[:, depth].contiguous(), self.codes[:, depth]
        wanted = states.masked_fill(states == NO_STATE, NO_STATE - 1).contiguous()
        first = torch.searchsorted(parents, wanted)
        counts = (torch.searchsorted(parents, wanted, right=True) - first).flatten()
        column = torch.arange(counts.numel(), device=states.device).repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        rank = torch.arange(len(column), device=states.device) - before[column]
        edge = first.flatten()[column] + rank
        legal = legal.clone()
        legal.flatten(0, 1)[column, codes[column // states.shape[1], edge]] = False
        return legal

    def is_excluded(self, items: Int[Tensor, "users width"]) -> Bool[Tensor, "users width"]:
        """Which of `items` their user must not get."""
        return is_among(items, self.items)


def _counted(
    states: Int[Tensor, "users n"],
) -> tuple[Int[Tensor, "users n"], Int[Tensor, "users n"]]:
    """Each user's different states, padded with `NO_STATE`, and how often each stood there."""
    ordered = states.sort(dim=1).values.contiguous()
    ends = torch.searchsorted(ordered, ordered, right=True)
    starts = torch.searchsorted(ordered, ordered)
    return distinct(ordered), ends - starts
