"""The code space: what a search sees of a catalog, whatever stands behind it.

A search walks from a root to items, one action at a time. The trie of semantic IDs is such a space
(`sidestep.search.policy.Scope`): an action is a code, and the action's step is the code's level.
Other spaces differ. In a space of unordered sets, an action is a code of some codebook, and several
ways lead to the same set. In a space of titles, an action is a token, few tokens may follow each
other, and one title ends before another. A catalog may name a space that is no trie
(`sidestep.catalog.own_space`), such as that of unordered sets (`sidestep.catalog.set_space`).
`sidestep.catalog.prefix_tree` has what only a trie can tell: prefixes of a depth, leaves below a
prefix.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@runtime_checkable
class CodeSpace(Protocol):
    """The ways from a root to the items that a search may return.

    A state is an integer from 0 on: what is decided so far. `NO_STATE` is the state of a way that
    does not exist: no action is legal in it, it has no items, and no action leads out of it. States
    are int64 and have one row per user. An action is an integer from 0 to `num_actions` - 1. All
    answers lie on `device`. Methods change nothing. `tests/catalog/space_contract.py` holds the
    laws.
    """

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per codebook; a model of other codebooks does not fit."""
        ...

    @property
    def num_steps(self) -> int:
        """Actions of the longest way from the root to a complete state."""
        ...

    @property
    def num_actions(self) -> int:
        """Actions in all: the width of `legal`, and of a model's logits."""
        ...

    @property
    def num_states(self) -> int:
        """The number of states, the root included, or a bound; no search looks at more states."""
        ...

    @property
    def num_items(self) -> int:
        """Items of the catalog, whether they may be returned or not."""
        ...

    @property
    def device(self) -> torch.device:
        """Where states, actions and answers lie."""
        ...

    @property
    def ways_meet(self) -> bool:
        """Whether two states may mean the same; else `canonical` changes nothing."""
        ...

    @property
    def ends_early(self) -> bool:
        """Whether a state may be complete before `num_steps` actions."""
        ...

    def root(self, num_users: int) -> Int[Tensor, "users 1"]:
        """The state of every user in which nothing is decided."""
        ...

    def legal(
        self, states: Int[Tensor, "users width"], step: int | None = None
    ) -> Bool[Tensor, "users width actions"]:
        """The actions that lead on towards an item that may be returned; none in complete states.

        Args:
            states: of any steps; a state may stand there several times.
            step: actions from the root to each of the states, if the number is the same for all;
                else None. With the number, the space need not look at the states.
        """
        ...

    def children(
        self, states: Int[Tensor, "users width"], step: int | None = None
    ) -> tuple[Int[Tensor, "users width children"], Int[Tensor, "users width children"]]:
        """The legal actions of each state, ascending, and the states that they lead to.

        The same actions as `legal` says; padded at the end with `NO_CODE` and `NO_STATE`.

        Args:
            states: see `legal`.
            step: see `legal`.
        """
        ...

    def child(
        self,
        states: Int[Tensor, "users width"],
        actions: Int[Tensor, "users width"],
        step: int | None = None,
    ) -> Int[Tensor, "users width"]:
        """The state after one more action; `NO_STATE` where no item of the catalog lies that way.

        Args:
            states: see `legal`.
            actions: one per state, legal or not.
            step: see `legal`.
        """
        ...

    def is_complete(self, states: Int[Tensor, "users width"]) -> Bool[Tensor, "users width"]:
        """States that decide an item, or a bucket of items that nothing tells apart, as a mask."""
        ...

    def items(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width bucket"]:
        """The items of each complete state that may be returned to its user, best known first.

        `NO_ITEM` is padding, which may stand between items; states that are not complete have no
        items.
        """
        ...

    def state_of(self, items: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The canonical complete state of each item; `NO_STATE` for `NO_ITEM`."""
        ...

    def canonical(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width"]:
        """One state for all states that mean the same: the same items, the same ways on."""
        ...

    def among(self, is_available: Bool[Tensor, " items"]) -> "CodeSpace":
        """The space as if only these items existed, for every user; what is gone stays gone.

        Args:
            is_available: one entry per item of the catalog, on any device.
        """
        ...

    def without(self, items: Int[Tensor, "users items"]) -> "CodeSpace":
        """The space as if these items did not exist, each user's own; `NO_ITEM` is padding."""
        ...


@runtime_checkable
class ShortensWays(Protocol):
    """A space that can end a way as soon as nothing is left to choose."""

    def shortened(self) -> CodeSpace:
        """The space in which a state is complete as soon as one item, or bucket, lies beyond it.

        The complete states stay as they are. The probability of a way stays too, for a policy that
        chooses the codebook of each state: each action that is left out is the only legal action.
        """
        ...


@runtime_checkable
class HasFeatures(Protocol):
    """A space that describes each state by features, for each of which a network may have a row.

    A node of a trie has one feature, the node itself. A set of codes has one feature per code, so
    that a sum of rows describes the set.
    """

    @property
    def num_features(self) -> int:
        """The features of all states together."""
        ...

    def features(self, states: Int[Tensor, "users width"]) -> Int[Tensor, "users width features"]:
        """The features of each state, as numbers from 0; -1 is padding, which may stand anywhere.

        `NO_STATE` has no features.
        """
        ...


@runtime_checkable
class ListsCandidates(Protocol):
    """A space that lists the items that each state may still become."""

    def candidates(
        self, states: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
        """The items of the catalog beyond each state, in scope or not, and the row of each state.

        The rows ascend. `NO_STATE` has no items.
        """
        ...

    def in_scope(self, num_users: int) -> Bool[Tensor, "users items"]:
        """The items that each user may get, as a mask."""
        ...


def features_misfit(num_rows: int, space: HasFeatures) -> str | None:
    """The reason why a network with rows for so many features does not fit a space, in words.

    None where it fits.
    """
    if num_rows == space.num_features:
        return None
    return (
        f"has rows for {num_rows} prefixes or codes, but the catalog has {space.num_features}; "
        "train it again on this catalog."
    )
