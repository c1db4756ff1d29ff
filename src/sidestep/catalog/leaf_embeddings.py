"""Embeddings by leaf: what a semantic ID stands for, in the vectors of a frozen encoder."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.space import CodeSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafEmbeddings:
    """Embeddings of every item and leaf of a catalog; cosines of these are semantic rewards.

    items: of every item, of length 1.
    leaves: mean of the items that share each leaf; shorter where they differ.
    leaf_states: the complete states of the catalog's space, ascending, one for each of `leaves`.
    """

    items: Float[Tensor, "items dim"]
    leaves: Float[Tensor, "leaves dim"]
    leaf_states: Int[Tensor, " leaves"]

    @staticmethod
    def of(embeddings: Float[Tensor, "items dim"], space: CodeSpace) -> "LeafEmbeddings":
        """Lies where the space does.

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
            leaf_states=self.leaf_states.to(device),
        )

    def at(self, leaves: Int[Tensor, "users width"]) -> Float[Tensor, "users width dim"]:
        """The embedding of each leaf; whatever at states that are no leaves."""
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
