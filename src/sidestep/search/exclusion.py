"""Exclusion: items that one user must not get, kept out of the search itself."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.availability import Availability
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.step import NO_ITEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Per user, the edges of the trie below which every item is excluded.

    What all users lack belongs into an `Availability`, which costs nothing per user.

    items: the excluded items of each user; `NO_ITEM` is padding.
    parents: by depth, the state above each closed edge; `NO_STATE` is padding.
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
        items = _first_of_each(items)
        leaves = trie.leaf_of(items)
        if available is not None:
            is_live = (trie.items(leaves, available) == items[..., None]).any(-1)
            leaves = leaves.masked_fill(~is_live, NO_STATE)
        # A leaf is closed when its whole bucket is excluded; a node when all its live leaves are.
        num_same = ((leaves[:, :, None] == leaves[:, None]) & (leaves != NO_STATE)[:, None]).sum(2)
        is_closed = (num_same > 0) & (num_same == trie.bucket_sizes(leaves, available))
        states = leaves.masked_fill(~is_closed, NO_STATE)
        is_first_leaf = _first_of_each(states) != NO_STATE
        parents, codes = [], []
        for depth in range(trie.num_levels, 0, -1):
            nodes = trie.ancestor(states, depth)
            num_closed = ((nodes[:, :, None] == nodes[:, None]) & is_first_leaf[:, None]).sum(2)
            if available is None:
                first, last = trie.leaf_range(nodes)
                num_open = last - first
            else:
                num_open = available.live_leaves[nodes.clamp(min=0)].long()
            is_shut = (nodes != NO_STATE) & (num_closed == num_open)
            nodes = nodes.masked_fill(~is_shut, NO_STATE)
            parents.append(trie.parent(nodes).masked_fill(~is_shut, NO_STATE))
            codes.append(trie.codes_of(nodes).clamp(min=0))
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
        parents, codes = self.parents[:, depth], self.codes[:, depth]
        is_here = (parents[:, :, None] == states[:, None]) & (parents != NO_STATE)[:, :, None]
        user, edge, column = is_here.nonzero(as_tuple=True)
        legal = legal.clone()
        legal[user, column, codes[user, edge]] = False
        return legal

    def is_excluded(self, items: Int[Tensor, "users width"]) -> Bool[Tensor, "users width"]:
        """Which of `items` their user must not get."""
        return ((items[:, :, None] == self.items[:, None]) & (items != NO_ITEM)[:, :, None]).any(2)


def _first_of_each(values: Int[Tensor, "users n"]) -> Int[Tensor, "users n"]:
    """Each user's values with repetitions turned into -1, the padding of items and states."""
    order = torch.arange(values.shape[1], device=values.device)
    is_repeated = ((values[:, :, None] == values[:, None]) & (order < order[:, None])).any(2)
    return values.masked_fill(is_repeated, -1)
