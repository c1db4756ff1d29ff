"""The prefix tree: what a trie tells of prefixes, beside what every code space tells.

Prefix scorers, evaluation and training need it. A search that walks needs only
`sidestep.catalog.space`.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor


@runtime_checkable
class PrefixTree(Protocol):
    """Prefixes of semantic IDs, numbered so that those of one depth follow each other.

    A state is the number of a prefix, 0 is the root, and leaves are the last states. `NO_STATE` has
    no depth, no path and nothing below it. `Trie` is the tree of a catalog.
    """

    @property
    def num_levels(self) -> int:
        """Codes of a semantic ID, and the depth of the leaves."""
        ...

    @property
    def first_leaf(self) -> int:
        """The smallest state that is a leaf."""
        ...

    def num_nodes(self, depth: int | None = None) -> int:
        """The number of states, at `depth` or at all depths together."""
        ...

    def nodes_at(self, depth: int) -> range:
        """The states of `depth` codes, in the lexicographic order of their paths."""
        ...

    def leaf_of(self, items: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The leaf of each item; `NO_STATE` for `NO_ITEM`."""
        ...

    def depth(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The number of codes that each state has decided; -1 for `NO_STATE`."""
        ...

    def codes_of(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The last code of each state; `NO_CODE` for the root and for `NO_STATE`."""
        ...

    def parent(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The state one code shorter; `NO_STATE` for the root and for `NO_STATE`."""
        ...

    def ancestor(self, states: Int[Tensor, "*shape"], depth: int) -> Int[Tensor, "*shape"]:
        """The prefix of `depth` codes of each state; `NO_STATE` for states above that depth."""
        ...

    def prefixes(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape levels"]:
        """The states on the way from the root to each state, of 1 code to all, itself the last."""
        ...

    def path(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape levels"]:
        """The codes from the root to each state, padded with `NO_CODE` at the end."""
        ...

    def leaf_range(
        self, states: Int[Tensor, "*shape"]
    ) -> tuple[Int[Tensor, "*shape"], Int[Tensor, "*shape"]]:
        """First leaf below each state, and the one after the last; equal for `NO_STATE`."""
        ...
