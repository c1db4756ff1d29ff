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
    parents: the state above each closed edge, ascending; `NO_STATE` is padding.
    codes: the code of each closed edge.
    most_below: the most closed edges below one state.
    """

    items: Int[Tensor, "users items"]
    parents: Int[Tensor, "users edges"]
    codes: Int[Tensor, "users edges"]
    most_below: int

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
            parents.append(trie.parent(nodes).masked_fill(~is_shut, NO_STATE))
            codes.append(trie.codes_of(nodes).clamp(min=0))
        above, order = torch.cat(parents, dim=1).sort(dim=1)
        above = above.contiguous()
        below_each = torch.searchsorted(above, above, right=True) - torch.searchsorted(above, above)
        below_each = below_each.masked_fill_(above == NO_STATE, 0)
        return Exclusion(
            items=items,
            parents=above,
            codes=torch.cat(codes, dim=1).gather(1, order),
            most_below=int(below_each.max()) if below_each.numel() else 0,
        )

    def open_codes(
        self, legal: Bool[Tensor, "users width codes"], states: Int[Tensor, "users width"]
    ) -> Bool[Tensor, "users width codes"]:
        """`legal` without the closed edges below `states`."""
        if not self.most_below:
            return legal
        users, width, num_codes = legal.shape
        wanted = states.masked_fill(states == NO_STATE, NO_STATE - 1).contiguous()
        first = torch.searchsorted(self.parents, wanted)[..., None]
        ranks = torch.arange(self.most_below, device=states.device)
        edges = (first + ranks).clamp_(max=self.parents.shape[1] - 1).view(users, -1)
        shape = (users, width, self.most_below)
        is_closed = self.parents.gather(1, edges).view(shape) == wanted[..., None]
        # What is no closed edge goes to a spare column at the end.
        codes = self.codes.gather(1, edges).view(shape).masked_fill_(~is_closed, num_codes)
        is_open = torch.ones(users, width, num_codes + 1, dtype=torch.bool, device=legal.device)
        return legal & is_open.scatter_(2, codes, False)[..., :-1]

    def is_excluded(
        self, items: Int[Tensor, "users width *bucket"]
    ) -> Bool[Tensor, "users width *bucket"]:
        """Items among `items` that their user must not get, as a mask."""
        return is_among(items, self.items)


def _counted(
    states: Int[Tensor, "users n"],
) -> tuple[Int[Tensor, "users n"], Int[Tensor, "users n"]]:
    """Each user's different states, padded with `NO_STATE`, and how often each stood there."""
    ordered = states.sort(dim=1).values.contiguous()
    ends = torch.searchsorted(ordered, ordered, right=True)
    starts = torch.searchsorted(ordered, ordered)
    return distinct(ordered), ends - starts
