"""Look-ups of code sets: the items that have all codes of a set, and the sets with one more code.

The items come from posting lists, or from the candidates of the latest look-ups, see
`set_candidates`. A look-up knows neither stock nor users: it tells of all items of the catalog.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.catalog.posting_lists import PostingLists
from sidestep.catalog.set_candidates import Candidates, LatestCandidates, narrowest, spread
from sidestep.catalog.set_states import SetStates
from sidestep.padding import NO_ITEM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetLookup:
    """Looks up the items of the states of code sets.

    lists: items by code.
    latest: the candidates that look-ups read and keep.
    """

    lists: PostingLists
    latest: LatestCandidates

    @property
    def states(self) -> SetStates:
        """The states of the items."""
        return SetStates(item_actions=self.lists.item_actions)

    def items_of(
        self, states: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
        """The items of the catalog with all codes of each state, and the row of each item's state.

        The items of a state ascend. No state may be the root or `NO_STATE`.
        """
        none = torch.zeros(0, dtype=torch.long, device=self.lists.device)
        items, rows = [none], [none]
        left = torch.arange(len(states), device=self.lists.device)
        for table in self.latest.tables():
            wanted = states.index_select(0, left)
            positions = table.positions(wanted)
            is_here = positions >= 0
            if bool(is_here.any()):
                here = positions[is_here]
                places, owners = spread(table.starts[here], table.stops[here])
                items.append(table.items.index_select(0, places))
                rows.append(left[is_here].index_select(0, owners))
                left = left[~is_here]
            if not len(left):
                break
        if len(left):
            found, owners = self._intersected(states.index_select(0, left))
            items.append(found)
            rows.append(left.index_select(0, owners))
        return torch.cat(items), torch.cat(rows)

    def grown(
        self, states: Int[Tensor, " n"], actions: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The states that have one more action, and the number of the items of each such state.

        `NO_STATE` and 0 where no item has all codes, and for a code of a codebook that is decided.

        Args:
            states: any states.
            actions: one per state; -1, or another number that is no action, leads to `NO_STATE`.
        """
        action = actions.clamp(0, self.lists.num_actions - 1)
        codebooks = self.lists.codebook_of.index_select(0, action)
        decided = self.states.actions(states)
        is_possible = (states >= 0) & (action == actions)
        is_possible &= decided.gather(1, codebooks[:, None])[:, 0] < 0
        depths = (decided >= 0).sum(dim=1)
        firsts, numbers = torch.full_like(states, NO_ITEM), torch.zeros_like(states)
        listed = (is_possible & (depths <= self._listed_depth)).nonzero()[:, 0]
        if len(listed):
            above, own = decided[listed].amax(dim=1), action[listed]
            firsts[listed], numbers[listed] = self._first_listed(above, own)
        searched = (is_possible & (depths > self._listed_depth)).nonzero()[:, 0]
        if len(searched):
            firsts[searched], numbers[searched] = self._first_among_candidates(
                states[searched], action[searched]
            )
        return self.states.grown(states, codebooks, firsts), numbers

    @property
    def _listed_depth(self) -> int:
        """The largest number of codes of a state whose children all have a posting list."""
        return 0 if self.lists.first_pair is None else 1

    def _first_listed(
        self, above: Int[Tensor, " n"], actions: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The first item with an action and the one above it, and the number of such items.

        Where the action above is -1, the items with the action alone.
        """
        lists = actions
        has_pair = above >= 0
        if bool(has_pair.any()):
            # A child of the root has no pair. Any pair stands in, and its list is not used.
            other = torch.where(has_pair, above, self._action_beside(actions))
            lists = torch.where(has_pair, self.lists.pair_list(other, actions), actions)
        starts, stops = self.lists.bounds(lists)
        items = self.lists.items.index_select(0, starts.clamp(max=len(self.lists.items) - 1))
        return items.long().masked_fill_(starts == stops, NO_ITEM), stops - starts

    def _action_beside(self, actions: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Some action of another codebook; there must be two codebooks."""
        is_first = self.lists.codebook_of.index_select(0, actions) == 0
        return torch.where(is_first, self.lists.num_actions - 1, 0)

    def _first_among_candidates(
        self, states: Int[Tensor, " n"], actions: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The first candidate of each state that has the action, and the number of such candidates.

        `NO_ITEM` where no candidate has the action. Keeps the candidates of the states that the
        actions lead to.
        """
        lists = self.lists
        codebooks = lists.codebook_of.index_select(0, actions)
        # One pass over the candidates of a state serves all its children in one codebook.
        distinct_states, state_of = torch.unique(states, return_inverse=True)
        keys, group_of = torch.unique(
            state_of * lists.num_codebooks + codebooks, return_inverse=True
        )
        above, books = distinct_states[keys // lists.num_codebooks], keys % lists.num_codebooks
        firsts = torch.tensor(lists.first_actions(), device=lists.device)
        codes = actions - firsts.index_select(0, codebooks)
        places = torch.full((len(keys), max(lists.codebook_sizes)), -1, device=lists.device)
        places[group_of, codes] = torch.arange(len(states), device=lists.device)
        place_of = places[group_of, codes]  # equal pairs share the place of one of them
        items, groups = self.items_of(above)
        own = lists.item_actions[items, books.index_select(0, groups)]
        own = own - firsts.index_select(0, books).index_select(0, groups)
        found = places[groups, own]
        is_wanted = found >= 0
        ordered, order = found[is_wanted].sort(stable=True)
        kept = items[is_wanted].index_select(0, order)
        lengths = ordered.bincount(minlength=len(states))
        stops = lengths.cumsum(0)
        starts = stops - lengths
        if len(kept) == 0:
            return torch.full_like(states, NO_ITEM), torch.zeros_like(states)
        heads = kept.index_select(0, starts.clamp(max=len(kept) - 1)).long()
        heads = heads.masked_fill_(lengths == 0, NO_ITEM)
        self._keep(states, codebooks, heads, starts, stops, kept)
        return heads.index_select(0, place_of), lengths.index_select(0, place_of)

    def _keep(
        self,
        states: Int[Tensor, " n"],
        codebooks: Int[Tensor, " n"],
        heads: Int[Tensor, " n"],
        starts: Int[Tensor, " n"],
        stops: Int[Tensor, " n"],
        items: Int[Tensor, " entries"],
    ) -> None:
        """Keeps the candidates of new states, which begin with their heads."""
        exists = heads != NO_ITEM
        grown, order = self.states.grown(states, codebooks, heads)[exists].sort()
        self.latest.keep(
            Candidates(
                states=grown,
                starts=starts[exists].index_select(0, order),
                stops=stops[exists].index_select(0, order),
                items=items,
            )
        )

    def _intersected(
        self, states: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
        """See `items_of`; reads the list of just these items, or filters the shortest list."""
        decided = self.states.actions(states)
        depths = (decided >= 0).sum(dim=1)
        if int(depths.max()) <= 1 + self._listed_depth:
            places, rows = spread(*self.lists.bounds(self._list_of(decided, depths)))
            return self.lists.items.index_select(0, places), rows
        places, rows = spread(*narrowest(self.lists, decided))
        items = self.lists.items.index_select(0, places)
        wanted = decided.index_select(0, rows)
        own = self.lists.item_actions.index_select(0, items)
        has_all = ((own == wanted) | (wanted < 0)).all(dim=1)
        return items[has_all], rows[has_all]

    def _list_of(
        self, decided: Int[Tensor, "n codebooks"], depths: Int[Tensor, " n"]
    ) -> Int[Tensor, " n"]:
        """The posting list of each set of one action, or of two where pairs have lists."""
        high = decided.amax(dim=1)
        if not self._listed_depth:
            return high
        low = decided.masked_fill(decided < 0, self.lists.num_actions).amin(dim=1)
        low = torch.where(depths == 2, low, self._action_beside(high))
        return torch.where(depths == 2, self.lists.pair_list(low, high), high)
