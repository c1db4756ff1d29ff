"""The space of code sets: an item is one code of every codebook, and the codes have no order.

For parallel codes, such as those of MPQ in REG4Rec (arXiv:2508.15308). A state is the set of the
codes decided so far, an action is a code of some codebook, and any codebook that is still open may
come next. A training that teaches every open codebook reads `codebook_of` and `is_open`.

The space puts together what other files know: the numbers of the states (`set_states`), the items
of a state (`set_lookup`), and the items that each user may get (`set_stock`).
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
from sidestep.catalog.set_candidates import LatestCandidates, spread
from sidestep.catalog.set_lookup import SetLookup
from sidestep.catalog.set_states import MAX_CODEBOOKS, SetStates
from sidestep.catalog.set_stock import InStock, UserStock
from sidestep.catalog.trie import NO_CODE, NO_STATE
from sidestep.padding import NO_ITEM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetSpace:
    """All ways to the items of a catalog whose codes are sets; a `CodeSpace`, see there.

    Make the space with `of_codes`, and the space of fewer items with `among` and `without`.

    lists: items by code.
    buckets: items with all codes in common.
    stock: the items that each user may get.
    ends_early: whether a set is complete as soon as one item, or one bucket, of the catalog has all
        its codes; see `shortened`.
    """

    lists: PostingLists
    buckets: SetBuckets
    stock: UserStock
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
        if len(codebook_sizes) > MAX_CODEBOOKS:
            raise ValueError(
                f"code sets have at most {MAX_CODEBOOKS} codebooks, got {len(codebook_sizes)}; "
                "use fewer and larger codebooks."
            )
        codes = semantic_ids.cpu().numpy()
        lists = PostingLists.build(codes, codebook_sizes).to(semantic_ids.device)
        buckets = SetBuckets.build(codes, codebook_sizes, popularity).to(semantic_ids.device)
        return cls(lists=lists, buckets=buckets, stock=UserStock(shared=InStock.of(lists, None)))

    def to(self, device: torch.device | str) -> "SetSpace":
        """A copy on `device`, without the candidates of the latest states."""
        return SetSpace(
            lists=self.lists.to(device),
            buckets=self.buckets.to(device),
            stock=self.stock.to(device),
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
        return self._states.number

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
        return self.lists.memory_bytes + self.buckets.memory_bytes + self.stock.shared.memory_bytes

    def is_open(self, states: Int[Tensor, "users width"]) -> Bool[Tensor, "users width codebooks"]:
        """The codebooks of which each state has no code yet, as a mask; none for `NO_STATE`."""
        return ~self._states.is_decided(states)

    def root(self, num_users: int) -> Int[Tensor, "users 1"]:
        """See `CodeSpace.root`; the empty set, state 0."""
        return torch.zeros(num_users, 1, dtype=torch.long, device=self.device)

    def legal(
        self, states: Int[Tensor, "users width"], step: int | None = None
    ) -> Bool[Tensor, "users width actions"]:
        """See `CodeSpace.legal`; the codes of the candidates in the codebooks still open."""
        states = states.masked_fill(self.is_complete(states), NO_STATE)  # nothing follows
        flat = states.reshape(-1)
        rows = self.stock.shared.rows(self._states.actions(flat), flat < 0).view(states.shape)
        is_counted = rows >= 0
        if bool(is_counted.all()):
            return self.stock.legal(self.lists, rows)
        legal = self._candidate_legal(states, ~is_counted)
        if bool(is_counted.any()):
            counted = self.stock.legal(self.lists, rows)
            legal = torch.where(is_counted[..., None], counted, legal)
        return legal

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
        return self._states.is_complete(states)

    def items(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width bucket"]:
        """See `CodeSpace.items`; by popularity."""
        firsts = self._states.first_items(states)
        firsts = firsts.masked_fill_(~self.is_complete(states), NO_ITEM)
        items = self.buckets.items_with(firsts.reshape(-1)).view(*states.shape, -1)
        return self.stock.kept(items)

    def state_of(self, items: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """See `CodeSpace.state_of`; all codes of the item."""
        firsts = self.buckets.first_items[items.clamp(min=0)].long()
        return self._states.complete(firsts.masked_fill_(items < 0, NO_ITEM))

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
        before = self.stock.shared.is_available
        if before is not None:
            is_available = is_available & before
        content = np.packbits(is_available.cpu().numpy()).tobytes()
        shared = self._stocks.get(content, lambda: InStock.of(self.lists, is_available))
        return replace(self, stock=replace(self.stock, shared=shared))

    def without(self, items: Int[Tensor, "users items"]) -> "SetSpace":
        """See `CodeSpace.without`; what is excluded already stays so."""
        return replace(self, stock=self.stock.without(items))

    def shortened(self) -> "SetSpace":
        """See `ShortensWays`."""
        return replace(self, ends_early=True)

    def candidates(
        self, states: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
        """See `ListsCandidates`: the items with all codes of each state."""
        whole, root = self.is_complete(states[None])[0], states == 0
        inner = ((states > 0) & ~whole).nonzero()[:, 0]
        items, owners = self._lookup.items_of(states.index_select(0, inner))
        complete = whole.nonzero()[:, 0]
        places, of_complete = spread(
            *self.buckets.ranges(self._states.first_items(states[complete]))
        )
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
        return self.stock.mask(self.lists, num_users)

    @property
    def num_features(self) -> int:
        """See `HasFeatures.num_features`; the codes of all codebooks."""
        return self.num_actions

    def features(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width codebooks"]:
        """See `HasFeatures.features`; the codes of each set, as actions."""
        codes = self._states.actions(states.reshape(-1))
        return codes.view(*states.shape, self.num_steps)

    def actions_of(self, items: Int[Tensor, " n"]) -> Int[Tensor, "n codebooks"]:
        """The codes of items, as actions."""
        return self.lists.item_actions.index_select(0, items).long()

    def actions_between(
        self, above: Int[Tensor, "*shape"], states: Int[Tensor, "*shape"]
    ) -> Int[Tensor, "*shape"]:
        """The action that leads from each state to one with one more code; -1 where none does."""
        return self._states.actions_between(above, states)

    @property
    def _states(self) -> SetStates:
        """The numbers of the states of all items."""
        return SetStates(item_actions=self.lists.item_actions)

    @property
    def _lookup(self) -> SetLookup:
        """The items of the states, with the candidates of the latest states."""
        return SetLookup(lists=self.lists, latest=self._latest)

    def _candidate_legal(
        self, states: Int[Tensor, "users width"], is_asked: Bool[Tensor, "users width"]
    ) -> Bool[Tensor, "users width actions"]:
        """The legal actions of the states that are asked for, from their candidates."""
        flat, width = states.reshape(-1), states.shape[1]
        asked = is_asked.reshape(-1).nonzero()[:, 0]
        items, owners = self._lookup.items_of(flat.index_select(0, asked))
        rows = asked.index_select(0, owners)
        is_live = self.stock.has(self.lists, items, rows // width)
        if is_live is not None:
            items, rows = items[is_live], rows[is_live]
        cells = self.lists.item_actions.index_select(0, items) + rows[:, None] * self.num_actions
        # What is decided already goes to a spare cell at the end.
        spare = len(flat) * self.num_actions
        cells.masked_fill_(self._states.is_decided(flat).index_select(0, rows), spare)
        legal = torch.zeros(spare + 1, dtype=torch.bool, device=self.device)
        legal.index_fill_(0, cells.view(-1), True)
        return legal[:-1].view(*states.shape, self.num_actions)

    def _child(self, states: Int[Tensor, " n"], actions: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """See `child`."""
        below, numbers = self._lookup.grown(states, actions)
        if self.ends_early:
            firsts = self._states.first_items(below)
            is_lone = numbers == self.buckets.sizes_with(firsts)
            below = torch.where(is_lone, self._states.complete(firsts), below)
        return below
