"""States of code sets: numbers that need no table.

    state = 2³² · mask + first

`mask` has a bit for every codebook that is decided, and `first` is the first item of the catalog
that has these codes. So equal sets are equal states, in whatever order their codes came. Only a set
that some item has is a state. An append leaves every state what it was.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

from sidestep.catalog.trie import NO_STATE
from sidestep.padding import NO_ITEM

_MASK_SHIFT = 32
_ITEM_BITS = 2**_MASK_SHIFT - 1

MAX_CODEBOOKS = 31
"""The largest number of codebooks: their bits leave the sign of an int64 free for `NO_STATE`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetStates:
    """The states of the items of one catalog.

    item_actions: the codes of each item as actions, see `PostingLists`.
    """

    item_actions: Integer[Tensor, "items codebooks"]

    @property
    def number(self) -> int:
        """A bound on the number of states: the empty set, and any codes of every item."""
        return 1 + len(self.item_actions) * self._all_decided

    def is_decided(self, states: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape codebooks"]:
        """The codebooks of which each state has a code, as a mask; all for `NO_STATE`."""
        last = _MASK_SHIFT + self.item_actions.shape[1]
        books = torch.arange(_MASK_SHIFT, last, device=states.device)
        return (states[..., None] >> books) & 1 > 0  # all bits of -1 are set

    def is_complete(self, states: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """States that have a code of every codebook, as a mask."""
        is_complete: Tensor = states >> _MASK_SHIFT == self._all_decided
        return is_complete

    def first_items(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The first item that has all codes of each state; `NO_ITEM` for `NO_STATE`."""
        firsts: Tensor = states & _ITEM_BITS
        return firsts.masked_fill_(states < 0, NO_ITEM)

    def actions(self, states: Int[Tensor, " n"]) -> Int[Tensor, "n codebooks"]:
        """The codes of each state as actions; -1 at open codebooks, and all -1 for `NO_STATE`."""
        items = self.first_items(states).clamp_(min=0)
        actions = self.item_actions.index_select(0, items).long()
        is_decided = self.is_decided(states.masked_fill(states < 0, 0))
        return actions.masked_fill_(~is_decided, -1)

    def complete(self, firsts: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The states of all codes of some items.

        Args:
            firsts: items, each the first one with its codes; `NO_ITEM` gives `NO_STATE`.
        """
        states = firsts + (self._all_decided << _MASK_SHIFT)
        return states.masked_fill_(firsts == NO_ITEM, NO_STATE)

    def grown(
        self,
        states: Int[Tensor, " n"],
        codebooks: Int[Tensor, " n"],
        firsts: Int[Tensor, " n"],
    ) -> Int[Tensor, " n"]:
        """The states that have one more code.

        Args:
            states: before.
            codebooks: the codebook of each new code.
            firsts: the first item with the old codes and the new one; `NO_ITEM` gives `NO_STATE`.
        """
        mask = (states >> _MASK_SHIFT) | (torch.ones_like(codebooks) << codebooks)
        return ((mask << _MASK_SHIFT) + firsts).masked_fill_(firsts == NO_ITEM, NO_STATE)

    def actions_between(
        self, above: Int[Tensor, "*shape"], states: Int[Tensor, "*shape"]
    ) -> Int[Tensor, "*shape"]:
        """The action that leads from each state to one with one more code; -1 where none does."""
        more = (states >> _MASK_SHIFT) & ~(above >> _MASK_SHIFT)
        is_step = (states >= 0) & (above >= 0) & (more > 0) & (more & (more - 1) == 0)
        books = torch.arange(self.item_actions.shape[1], device=states.device)
        codebook = ((more[..., None] >> books) & 1).argmax(dim=-1)
        items = (states & _ITEM_BITS).masked_fill(~is_step, 0)
        actions = self.item_actions[items, codebook].long()
        return actions.masked_fill(~is_step, -1)

    @property
    def _all_decided(self) -> int:
        """The mask of all codebooks."""
        return (1 << self.item_actions.shape[1]) - 1
