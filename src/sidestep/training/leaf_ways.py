"""Ways to leaves: the steps by which a policy reaches each of some leaves, in any code space.

One way leads to each leaf of a trie. In a space of sets, a policy that chooses its next codebook
has one way to each set, too: the way that the policy itself would go.
"""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.model.code_set_model import CodeSetModel
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.search.policy import Scope
from sidestep.search.set_ways import Ways, walked_ways
from sidestep.step import HistoryBatch


@runtime_checkable
class LeafWays(Protocol):
    """The ways to the leaves of one space."""

    @property
    def space(self) -> CodeSpace:
        """All items of the catalog."""
        ...

    def to(self, device: torch.device) -> "LeafWays":
        """The ways in a space on `device`."""
        ...

    def __call__(
        self,
        model: SemanticIdModel,
        histories: HistoryBatch,
        leaves: Int[Tensor, "users leaves"],
    ) -> Ways:
        """The ways that a policy goes.

        Args:
            model: the policy.
            histories: of the users.
            leaves: distinct complete states of each user; `NO_STATE` is padding.
        """
        ...

    def legal(
        self,
        slot_states: Int[Tensor, "users slots"],
        next_actions: Int[Tensor, "users slots"],
    ) -> Bool[Tensor, "users slots actions"]:
        """The actions among which the policy chooses at each node of a tree.

        Args:
            slot_states: of the nodes.
            next_actions: an action that a way takes at each node; -1 where no way goes on.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrieWays:
    """The ways to the leaves of a trie, which are the same for every policy; see `LeafWays`."""

    space: Scope

    def to(self, device: torch.device) -> "TrieWays":
        """See `LeafWays.to`."""
        return replace(self, space=self.space.to(device))

    def __call__(
        self,
        model: SemanticIdModel,
        histories: HistoryBatch,
        leaves: Int[Tensor, "users leaves"],
    ) -> Ways:
        """See `LeafWays`."""
        return prefix_ways(leaves, self.space.trie)

    def legal(
        self,
        slot_states: Int[Tensor, "users slots"],
        next_actions: Int[Tensor, "users slots"],
    ) -> Bool[Tensor, "users slots actions"]:
        """See `LeafWays.legal`; all codes that may follow."""
        return self.space.trie.legal(slot_states)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWays:
    """The ways of a policy to sets of codes; see `LeafWays`.

    space: of all sets.
    all_codes: whether every way decides all codes. False: a way ends as soon as one item is left,
        as a search does that reads no leaves.
    """

    space: SetSpace
    all_codes: bool = False

    def to(self, device: torch.device) -> "SetWays":
        """See `LeafWays.to`."""
        return replace(self, space=self.space.to(device))

    def __call__(
        self,
        model: SemanticIdModel,
        histories: HistoryBatch,
        leaves: Int[Tensor, "users leaves"],
    ) -> Ways:
        """See `LeafWays`; without gradient."""
        assert isinstance(model, CodeSetModel), "sets of codes need a network over sets"
        space = self.space if self.all_codes else self.space.shortened()
        items = space.items(leaves)[..., 0]
        return chosen_ways(model, histories, items, space)

    def legal(
        self,
        slot_states: Int[Tensor, "users slots"],
        next_actions: Int[Tensor, "users slots"],
    ) -> Bool[Tensor, "users slots actions"]:
        """See `LeafWays.legal`; the codes of the codebook that the way goes on with."""
        codebook_of = self.space.codebook_of
        chosen = codebook_of[next_actions.clamp(min=0)].masked_fill(next_actions < 0, -1)
        return self.space.legal(slot_states) & (codebook_of == chosen[..., None])


def prefix_ways(leaves: Int[Tensor, "users leaves"], trie: Trie) -> Ways:
    """The ways to the leaves of a trie, which lead through their prefixes.

    Args:
        leaves: of each user; `NO_STATE` is padding.
        trie: of the catalog.
    """
    states = trie.prefixes(leaves)
    return Ways(
        states=states,
        actions=trie.codes_of(states).clamp(min=0),
        is_step=(leaves != NO_STATE)[..., None].expand(states.shape),
    )


@torch.no_grad()
def chosen_ways(
    model: CodeSetModel,
    histories: HistoryBatch,
    items: Int[Tensor, "users items"],
    space: SetSpace,
    *,
    after: Int[Tensor, "users items"] | None = None,
) -> Ways:
    """The ways to the sets of some items that a network itself would go, without gradient.

    See `sidestep.search.set_ways`.

    Args:
        model: the network; without dropout, as in a search.
        histories: of the users.
        items: in scope; `NO_ITEM` is padding.
        space: of all sets; in a shortened one a way ends as soon as one item is left.
        after: the number of items of the history that each item follows; None: all of them. A
            network in which items choose codes counts all items of the history as held.
    """
    capacity = items.shape[1] * (space.num_steps - 1)
    start, context = model.encode(histories, capacity=capacity)
    if after is None:
        return walked_ways(model, start, context, items, space).ways
    of_history = context.history_states
    assert of_history is not None, "the network gives no states of the history"
    start = model.step_at(of_history.states.take_along_dim(after[..., None], dim=1))
    visible = after + 1  # the start token stands before the items
    return walked_ways(model, start, context, items, space, visible=visible).ways


def ways_in(space: CodeSpace, policy: SemanticIdModel, *, all_codes: bool = False) -> LeafWays:
    """The ways to the leaves of a space.

    Args:
        space: of all items.
        policy: will go the ways.
        all_codes: see `SetWays`.

    Raises:
        TypeError: nobody knows the ways in such a space.
        ValueError: the space is that of sets, and the policy is no network over sets.
    """
    if isinstance(space, SetSpace):
        if not isinstance(policy, CodeSetModel):
            raise ValueError(
                f"the codes of the catalog are sets, and a {type(policy).__name__} writes codes in "
                "an order; take a network of kind code-sets."
            )
        return SetWays(space=space, all_codes=all_codes)
    if isinstance(space, Scope):
        return TrieWays(space=space)
    raise TypeError(
        f"reinforcement learning needs the trie of semantic IDs or sets of codes, and the space of "
        f"this catalog is {type(space).__name__}; tokenize with --space trie or --space sets."
    )
