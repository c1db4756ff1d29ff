"""Embeddings by leaf: what a semantic ID stands for, in the vectors of a frozen encoder."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import Trie


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafEmbeddings:
    """Embeddings of every item and leaf of a catalog; cosines of these are semantic rewards.

    items: of every item, of length 1.
    leaves: mean of the items that share each leaf, in the order of the trie; shorter where they
        differ.
    first_leaf: of the trie.
    leaf_states: the complete states of another space, ascending, one for each of `leaves`; None for
        a trie.
    """

    items: Float[Tensor, "items dim"]
    leaves: Float[Tensor, "leaves dim"]
    first_leaf: int = 0
    leaf_states: Int[Tensor, " leaves"] | None = None

    @staticmethod
    def of(embeddings: Float[Tensor, "items dim"], trie: Trie) -> "LeafEmbeddings":
        """Lies where the trie does.

        Args:
            embeddings: of every item of the catalog, of any length.
            trie: of the catalog.

        Raises:
            ValueError: there is not one embedding per item.
        """
        _refuse_other_number(embeddings, trie.num_items)
        items = functional.normalize(embeddings.float().to(trie.device), dim=1)
        leaf = trie.leaf_of(torch.arange(trie.num_items, device=trie.device)) - trie.first_leaf
        leaves = _means(items, leaf, trie.num_leaves)
        return LeafEmbeddings(items=items, leaves=leaves, first_leaf=trie.first_leaf)

    @staticmethod
    def of_space(embeddings: Float[Tensor, "items dim"], space: CodeSpace) -> "LeafEmbeddings":
        """The embeddings of the complete states of any space; lies where the space does.

        Args:
            embeddings: of every item of the catalog, of any length.
            space: of the catalog.

        Raises:
            ValueError: there is not one embedding per item.
        """
        _refuse_other_number(embeddings, space.num_items)
        items = functional.normalize(embeddings.float().to(space.device), dim=1)
        own = space.state_of(torch.arange(space.num_items, device=space.device))
        states, leaf = torch.unique(own, return_inverse=True)
        leaves = _means(items, leaf, len(states))
        return LeafEmbeddings(items=items, leaves=leaves, leaf_states=states)

    def to(self, device: torch.device | str) -> "LeafEmbeddings":
        """Copies the embeddings to `device`."""
        return LeafEmbeddings(
            items=self.items.to(device),
            leaves=self.leaves.to(device),
            first_leaf=self.first_leaf,
            leaf_states=None if self.leaf_states is None else self.leaf_states.to(device),
        )

    def at(self, leaves: Int[Tensor, "users width"]) -> Float[Tensor, "users width dim"]:
        """The embedding of each leaf; whatever at states that are no leaves."""
        if self.leaf_states is None:
            return self.leaves[(leaves - self.first_leaf).clamp(min=0)]
        places = torch.searchsorted(self.leaf_states, leaves.contiguous())
        return self.leaves[places.clamp(max=len(self.leaf_states) - 1)]


def _refuse_other_number(embeddings: Float[Tensor, "rows dim"], num_items: int) -> None:
    """Raises a `ValueError` unless there is one embedding per item."""
    if len(embeddings) != num_items:
        raise ValueError(
            f"{len(embeddings)} embeddings for a catalog of {num_items} items; embed the items of "
            "this catalog."
        )


def _means(
    items: Float[Tensor, "items dim"], leaf: Int[Tensor, " items"], num_leaves: int
) -> Float[Tensor, "leaves dim"]:
    """The mean embedding of the items of each leaf."""
    sums = items.new_zeros(num_leaves, items.shape[1]).index_add_(0, leaf, items)
    return sums / torch.bincount(leaf, minlength=num_leaves)[:, None]
