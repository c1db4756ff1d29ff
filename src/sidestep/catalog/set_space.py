"""The space of code sets: an item is one code of every codebook, and the codes have no order.

For parallel codes, such as those of MPQ in REG4Rec (arXiv:2508.15308). A state is the set of the
codes decided so far, an action is a code of some codebook, and any codebook that is still open may
come next. A training that teaches every open codebook reads `codebook_of` and `is_open`.

A state is a number that needs no table:

    state = 2³² · mask + first

`mask` has a bit for every codebook that is decided, and `first` is the first item of the catalog
that has these codes. So equal sets are equal states, in whatever order their codes came. Only a set
that some item has is a state. An append leaves every state what it was. Candidates of sets are in
`set_candidates`, lists of items by code in `posting_lists`.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.latest import LatestAnswers
from sidestep.catalog.posting_lists import PostingLists
from sidestep.catalog.set_buckets import SetBuckets
from sidestep.catalog.set_candidates import Candidates, LatestCandidates, narrowest, spread
from sidestep.catalog.trie import NO_CODE, NO_STATE
from sidestep.catalog.user_sets import distinct, is_among
from sidestep.padding import NO_ITEM
from sidestep.step import is_named

_MASK_SHIFT = 32
_ITEM_BITS = 2**_MASK_SHIFT - 1
_MAX_CODEBOOKS = 31


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InStock:
    """The items that every user may get.

    is_available: per item; None where every item may be returned.
    counts: see `PostingLists.counts`; the available items alone count.
    follows: whether a count is above 0.
    """

    is_available: Bool[Tensor, " items"] | None
    counts: Int[Tensor, "rows actions"]
    follows: Bool[Tensor, "rows actions"]

    @staticmethod
    def of(lists: PostingLists, is_available: Bool[Tensor, " items"] | None) -> "InStock":
        """Counts the items."""
        counts = lists.counts(is_available)
        return InStock(is_available=is_available, counts=counts, follows=counts > 0)

    def to(self, device: torch.device | str) -> "InStock":
        """Copies the counts to `device`."""
        is_available = None if self.is_available is None else self.is_available.to(device)
        return InStock(
            is_available=is_available,
            counts=self.counts.to(device),
            follows=self.follows.to(device),
        )

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        per_item = 0 if self.is_available is None else self.is_available.nbytes
        return per_item + self.counts.nbytes + self.follows.nbytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetSpace:
    """All ways to the items of a catalog whose codes are sets; a `CodeSpace`, see there.

    Make the space with `of_codes`, and the space of fewer items with `among` and `without`.

    lists: items by code.
    buckets: items with all codes in common.
    stock: the items that every user may get.
    excluded: per user the items that the user must not get, ascending, each once.
    ends_early: whether a set is complete as soon as one item, or one bucket, of the catalog has all
        its codes; see `shortened`.
    """

    lists: PostingLists
    buckets: SetBuckets
    stock: InStock
    excluded: Int[Tensor, "users items"] | None = None
    ends_early: bool = False
    _latest: LatestCandidates = field(default_factory=LatestCandidates, repr=False)
    _stocks: LatestAnswers[InStock] = field(default_factory=LatestAnswers, repr=False)

    ways_meet: ClassVar[bool] = True

    @classmethod
    def of_codes(
        cls,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
        *,
        popularity: Int[np.ndarray, " items"] | None = None,
    ) -> "SetSpace":
        """The space of all items; see `sidestep.catalog.own_space.MadeOfCodes`.

        Args:
            semantic_ids: row i is item i; level l is a code of codebook l.
            codebook_sizes: codes per codebook.
            popularity: orders the items of a bucket, descending, ties by index.

        Raises:
            ValueError: no items, more than 31 codebooks, or codes that do not fit the codebooks.
        """
        if len(codebook_sizes) > _MAX_CODEBOOKS:
            raise ValueError(
                f"code sets have at most {_MAX_CODEBOOKS} codebooks, got {len(codebook_sizes)}; "
                "use fewer and larger codebooks."
            )
        codes = semantic_ids.cpu().numpy()
        lists = PostingLists.build(codes, codebook_sizes).to(semantic_ids.device)
        buckets = SetBuckets.build(codes, codebook_sizes, popularity).to(semantic_ids.device)
        return cls(lists=lists, buckets=buckets, stock=InStock.of(lists, None))

    def to(self, device: torch.device | str) -> "SetSpace":
        """A copy on `device`, without the candidates of the latest states."""
        return SetSpace(
            lists=self.lists.to(device),
            buckets=self.buckets.to(device),
            stock=self.stock.to(device),
            excluded=None if self.excluded is None else self.excluded.to(device),
            ends_early=self.ends_early,
        )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """See `CodeSpace.codebook_sizes`."""
        return self.lists.codebook_sizes

    @property
    def num_steps(self) -> int:
        """See `CodeSpace.num_steps`; one code of every codebook."""
        return self.lists.num_codebooks

    @property
    def num_actions(self) -> int:
        """See `CodeSpace.num_actions`; the codes of all codebooks."""
        return self.lists.num_actions

    @property
    def num_states(self) -> int:
        """See `CodeSpace.num_states`; a bound: every item with every choice of codebooks."""
        return 1 + self.num_items * self._all_decided

    @property
    def num_items(self) -> int:
        """See `CodeSpace.num_items`."""
        return self.lists.num_items

    @property
    def device(self) -> torch.device:
        """See `CodeSpace.device`."""
        return self.lists.device

    @property
    def codebook_of(self) -> Int[Tensor, " actions"]:
        """The codebook of each action."""
        return self.lists.codebook_of

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays, without the candidates of the latest states."""
        return self.lists.memory_bytes + self.buckets.memory_bytes + self.stock.memory_bytes

    def is_open(self, states: Int[Tensor, "users width"]) -> Bool[Tensor, "users width codebooks"]:
        """The codebooks of which each state has no code yet, as a mask; none for `NO_STATE`."""
        return ~self._is_decided(states)  # all bits of -1 are set

    def root(self, num_users: int) -> Int[Tensor, "users 1"]:
        """See `CodeSpace.root`; the empty set, state 0."""
        return torch.zeros(num_users, 1, dtype=torch.long, device=self.device)

    def legal(
        self, states: Int[Tensor, "users width"], step: int | None = None
    ) -> Bool[Tensor, "users width actions"]:
        """See `CodeSpace.legal`; the codes of the candidates in the codebooks still open."""
        states = states.masked_fill(self.is_complete(states), NO_STATE)  # nothing follows
        flat = states.reshape(-1)
        rows = self._count_rows(flat)
        is_counted = rows >= 0
        if bool(is_counted.all()):
            return self._counted_legal(states, rows).view(*states.shape, self.num_actions)
        legal = self._candidate_legal(flat, states.shape[1], ~is_counted)
        if bool(is_counted.any()):
            counted = self._counted_legal(states, rows.masked_fill(~is_counted, self._no_row))
            legal = torch.where(is_counted[:, None], counted, legal)
        return legal.view(*states.shape, self.num_actions)

    def children(
        self, states: Int[Tensor, "users width"], step: int | None = None
    ) -> tuple[Int[Tensor, "users width children"], Int[Tensor, "users width children"]]:
        """See `CodeSpace.children`."""
        legal = self.legal(states, step).flatten(0, 1)
        numbers = legal.sum(dim=1)
        rows, actions = legal.nonzero(as_tuple=True)
        most = int(numbers.max()) if len(numbers) else 0
        ranks = torch.arange(len(rows), device=self.device)
        ranks = ranks - (numbers.cumsum(0) - numbers).index_select(0, rows)
        padded = torch.full((len(legal), most), NO_CODE, device=self.device)
        padded[rows, ranks] = actions
        below = torch.full_like(padded, NO_STATE)
        below[rows, ranks] = self._child(states.reshape(-1).index_select(0, rows), actions)
        return padded.view(*states.shape, most), below.view(*states.shape, most)

    def child(
        self,
        states: Int[Tensor, "users width"],
        actions: Int[Tensor, "users width"],
        step: int | None = None,
    ) -> Int[Tensor, "users width"]:
        """See `CodeSpace.child`; `NO_STATE` also for a code of a codebook that is decided."""
        return self._child(states.reshape(-1), actions.reshape(-1)).view(states.shape)

    def is_complete(self, states: Int[Tensor, "users width"]) -> Bool[Tensor, "users width"]:
        """See `CodeSpace.is_complete`; a code of every codebook."""
        is_complete: Tensor = states >> _MASK_SHIFT == self._all_decided
        return is_complete

    def items(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width bucket"]:
        """See `CodeSpace.items`; by popularity."""
        firsts = (states & _ITEM_BITS).masked_fill(~self.is_complete(states), NO_ITEM)
        items = self.buckets.items_with(firsts.reshape(-1)).view(*states.shape, -1)
        if self.stock.is_available is not None:
            items = items.masked_fill(~self.stock.is_available[items.clamp(min=0)], NO_ITEM)
        if self.excluded is not None:
            items = items.masked_fill(is_among(items, self.excluded), NO_ITEM)
        return items

    def state_of(self, items: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """See `CodeSpace.state_of`; all codes of the item."""
        firsts = self.buckets.first_items[items.clamp(min=0)].long()
        states = firsts + (self._all_decided << _MASK_SHIFT)
        return states.masked_fill_(items < 0, NO_STATE)

    def canonical(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width"]:
        """See `CodeSpace.canonical`; equal sets are equal states already."""
        return states

    def among(self, is_available: Bool[Tensor, " items"]) -> "SetSpace":
        """See `CodeSpace.among`; the latest few answers are kept.

        Raises:
            ValueError: not one entry per item.
        """
        if len(is_available) != self.num_items:
            raise ValueError(
                f"is_available has {len(is_available)} entries for {self.num_items} items."
            )
        is_available = is_available.to(self.device)
        if self.stock.is_available is not None:
            is_available = is_available & self.stock.is_available
        content = np.packbits(is_available.cpu().numpy()).tobytes()
        stock = self._stocks.get(content, lambda: InStock.of(self.lists, is_available))
        return replace(self, stock=stock)

    def without(self, items: Int[Tensor, "users items"]) -> "SetSpace":
        """See `CodeSpace.without`; what is excluded already stays so."""
        if self.excluded is not None:
            items = torch.cat([self.excluded, items], dim=1)
        return replace(self, excluded=distinct(items))

    def shortened(self) -> "SetSpace":
        """See `ShortensWays`."""
        return replace(self, ends_early=True)

    def candidates(
        self, states: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
        """See `ListsCandidates`: the items with all codes of each state."""
        whole, root = self.is_complete(states[None])[0], states == 0
        inner = ((states > 0) & ~whole).nonzero()[:, 0]
        items, owners = self._candidates(states.index_select(0, inner))
        complete = whole.nonzero()[:, 0]
        places, of_complete = spread(*self.buckets.ranges(states[complete] & _ITEM_BITS))
        roots = root.nonzero()[:, 0]
        rows = [
            inner.index_select(0, owners),
            complete.index_select(0, of_complete),
            roots.repeat_interleave(self.num_items),
        ]
        every = torch.arange(self.num_items, device=self.device).repeat(len(roots))
        found = torch.cat([items.long(), self.buckets.items[places].long(), every])
        ordered, order = torch.cat(rows).sort(stable=True)
        return found.index_select(0, order), ordered

    def in_scope(self, num_users: int) -> Bool[Tensor, "users items"]:
        """See `ListsCandidates`."""
        mask = torch.ones(num_users, self.num_items, dtype=torch.bool, device=self.device)
        if self.stock.is_available is not None:
            mask &= self.stock.is_available
        if self.excluded is not None:
            mask &= ~is_named(self.excluded, self.num_items)
        return mask

    @property
    def num_features(self) -> int:
        """See `HasFeatures.num_features`; the codes of all codebooks."""
        return self.num_actions

    def features(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width codebooks"]:
        """See `HasFeatures.features`; the codes of each set, as actions."""
        return self._decided_actions(states.reshape(-1)).view(*states.shape, self.num_steps)

    def actions_of(self, items: Int[Tensor, " n"]) -> Int[Tensor, "n codebooks"]:
        """The codes of items, as actions."""
        return self.lists.item_actions.index_select(0, items).long()

    def actions_between(
        self, above: Int[Tensor, "*shape"], states: Int[Tensor, "*shape"]
    ) -> Int[Tensor, "*shape"]:
        """The action that leads from each state to one with one more code; -1 where none does."""
        more = (states >> _MASK_SHIFT) & ~(above >> _MASK_SHIFT)
        is_step = (states >= 0) & (above >= 0) & (more > 0) & (more & (more - 1) == 0)
        books = torch.arange(self.num_steps, device=states.device)
        codebook = ((more[..., None] >> books) & 1).argmax(dim=-1)
        items = (states & _ITEM_BITS).masked_fill(~is_step, 0)
        actions = self.lists.item_actions[items, codebook].long()
        return actions.masked_fill(~is_step, -1)

    @property
    def _all_decided(self) -> int:
        """The mask of all codebooks."""
        return (1 << self.num_steps) - 1

    @property
    def _no_row(self) -> int:
        """The row of `counts` that counts nothing."""
        return len(self.stock.counts) - 1

    def _is_decided(self, states: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape codebooks"]:
        books = torch.arange(_MASK_SHIFT, _MASK_SHIFT + self.num_steps, device=states.device)
        return (states[..., None] >> books) & 1 > 0

    def _decided_actions(self, states: Int[Tensor, " n"]) -> Int[Tensor, "n codebooks"]:
        """The codes of each state as actions; -1 at open codebooks, and all -1 for `NO_STATE`."""
        items = (states & _ITEM_BITS).masked_fill(states < 0, 0)
        actions = self.lists.item_actions.index_select(0, items).long()
        is_decided = self._is_decided(states.masked_fill(states < 0, 0))
        return actions.masked_fill_(~is_decided, -1)

    def _count_rows(self, states: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The row of `counts` that counts what follows each state; -1 where no row does."""
        actions = self._decided_actions(states)
        depths = (actions >= 0).sum(dim=1)
        rows = torch.where(depths == 1, 1 + actions.amax(dim=1), depths)
        has_row = depths < (2 if self._no_row > 1 else 1)
        return rows.masked_fill_(~has_row, -1).masked_fill_(states < 0, self._no_row)

    def _counted_legal(
        self, states: Int[Tensor, "users width"], rows: Int[Tensor, " n"]
    ) -> Bool[Tensor, "n actions"]:
        """The legal actions of states whose next actions are counted."""
        if self.excluded is None or not self.excluded.shape[1]:
            return self.stock.follows.index_select(0, rows)
        counts = self.stock.counts.index_select(0, rows)
        cells = self._excluded_cells(states, rows.view(states.shape))
        counts.view(-1).index_add_(0, cells, torch.full_like(cells, -1, dtype=counts.dtype))
        return counts > 0

    def _excluded_cells(
        self, states: Int[Tensor, "users width"], rows: Int[Tensor, "users width"]
    ) -> Int[Tensor, " cells"]:
        """The cells of the counts that contain an item which the user must not get.

        There is one cell per item and action of the item: the index in [users, width, actions].
        """
        assert self.excluded is not None
        items = self.excluded
        is_there = items != NO_ITEM
        if self.stock.is_available is not None:
            is_there &= self.stock.is_available[items.clamp(min=0)]
        actions = self.lists.item_actions[items.clamp(min=0)].long()  # [users, items, codebooks]
        # Row 1 + a counts items with action a, row 0 counts all.
        has_action = (actions[:, None] + 1 == rows[..., None, None]).any(dim=3)
        is_counted = (has_action | (rows == 0)[..., None]) & is_there[:, None]
        users, columns, places = is_counted.nonzero(as_tuple=True)
        own = actions[users, places]  # [matches, codebooks]
        # Cells of the codebook of a row's own action count nothing, and stay below one.
        return (own + ((users * states.shape[1] + columns) * self.num_actions)[:, None]).view(-1)

    def _candidate_legal(
        self, states: Int[Tensor, " n"], width: int, is_asked: Bool[Tensor, " n"]
    ) -> Bool[Tensor, "n actions"]:
        """The legal actions of the states that are asked for, from their candidates."""
        asked = is_asked.nonzero()[:, 0]
        items, owners = self._candidates(states.index_select(0, asked))
        rows = asked.index_select(0, owners)
        is_live = None
        if self.stock.is_available is not None:
            is_live = self.stock.is_available.index_select(0, items)
        if self.excluded is not None and self.excluded.shape[1]:
            is_excluded = self._is_excluded(items, rows // width)
            is_live = ~is_excluded if is_live is None else is_live & ~is_excluded
        if is_live is not None:
            items, rows = items[is_live], rows[is_live]
        cells = self.lists.item_actions.index_select(0, items) + rows[:, None] * self.num_actions
        # What is decided already goes to a spare cell at the end.
        spare = len(states) * self.num_actions
        cells.masked_fill_(self._is_decided(states).index_select(0, rows), spare)
        legal = torch.zeros(spare + 1, dtype=torch.bool, device=self.device)
        legal.index_fill_(0, cells.view(-1), True)
        return legal[:-1].view(-1, self.num_actions)

    def _is_excluded(
        self, items: Int[Tensor, " n"], users: Int[Tensor, " n"]
    ) -> Bool[Tensor, " n"]:
        """Items that their user must not get, as a mask."""
        assert self.excluded is not None
        num_users = len(self.excluded)
        firsts = torch.arange(num_users, device=self.device)[:, None] * self.num_items
        pairs = (self.excluded + firsts).masked_fill(self.excluded == NO_ITEM, -1)
        ordered = pairs.view(-1).sort().values
        wanted = users * self.num_items + items
        place = torch.searchsorted(ordered, wanted).clamp_(max=len(ordered) - 1)
        return ordered.index_select(0, place) == wanted

    def _child(self, states: Int[Tensor, " n"], actions: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """See `CodeSpace.child`."""
        last = self.num_actions - 1
        action = actions.clamp(0, last)
        codebooks = self.codebook_of.index_select(0, action)
        decided = self._decided_actions(states)
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
        mask = (states >> _MASK_SHIFT) | (torch.ones_like(codebooks) << codebooks)
        if self.ends_early:
            is_lone = numbers == self.buckets.sizes_with(firsts)
            mask = mask.masked_fill(is_lone, self._all_decided)
        return ((mask << _MASK_SHIFT) + firsts).masked_fill_(firsts == NO_ITEM, NO_STATE)

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
        is_first = self.codebook_of.index_select(0, actions) == 0
        return torch.where(is_first, self.num_actions - 1, 0)

    def _first_among_candidates(
        self, states: Int[Tensor, " n"], actions: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The first candidate of each state that has the action, and the number of such candidates.

        `NO_ITEM` where no candidate has the action. Keeps the candidates of the states that the
        actions lead to.
        """
        codebooks = self.codebook_of.index_select(0, actions)
        # One pass over the candidates of a state serves all its children in one codebook.
        distinct_states, state_of = torch.unique(states, return_inverse=True)
        keys, group_of = torch.unique(state_of * self.num_steps + codebooks, return_inverse=True)
        above, books = distinct_states[keys // self.num_steps], keys % self.num_steps
        firsts = torch.tensor(self.lists.first_actions(), device=self.device)
        codes = actions - firsts.index_select(0, codebooks)
        places = torch.full((len(keys), max(self.codebook_sizes)), -1, device=self.device)
        places[group_of, codes] = torch.arange(len(states), device=self.device)
        place_of = places[group_of, codes]  # equal pairs share the place of one of them
        items, groups = self._candidates(above)
        own = self.lists.item_actions[items, books.index_select(0, groups)]
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
        mask = (states >> _MASK_SHIFT) | (torch.ones_like(codebooks) << codebooks)
        exists = heads != NO_ITEM
        grown, order = ((mask << _MASK_SHIFT) + heads)[exists].sort()
        self._latest.keep(
            Candidates(
                states=grown,
                starts=starts[exists].index_select(0, order),
                stops=stops[exists].index_select(0, order),
                items=items,
            )
        )

    def _candidates(
        self, states: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
        """The items of the catalog with all codes of each state, and the row of each item's state.

        The items of a state ascend. No state may be the root or `NO_STATE`.
        """
        none = torch.zeros(0, dtype=torch.long, device=self.device)
        items, rows = [none], [none]
        left = torch.arange(len(states), device=self.device)
        for table in self._latest.tables():
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

    def _intersected(
        self, states: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
        """See `_candidates`; reads the list of just these items, or filters the shortest list."""
        decided = self._decided_actions(states)
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
        low = decided.masked_fill(decided < 0, self.num_actions).amin(dim=1)
        low = torch.where(depths == 2, low, self._action_beside(high))
        return torch.where(depths == 2, self.lists.pair_list(low, high), high)
