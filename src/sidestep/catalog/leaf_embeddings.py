"""Embeddings by leaf: what a semantic ID stands for, in the vectors of a frozen encoder."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.trie import Trie


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafEmbeddings:
    """Embeddings of every item and leaf of a catalog; cosines of these are semantic rewards.

    items: of every item, of length 1.
    leaves: mean of the items that share each leaf, in the order of the trie; shorter where they
        differ.
    first_leaf: of the trie.
    """

    items: Float[Tensor, "items dim"]
    leaves: Float[Tensor, "leaves dim"]
    first_leaf: int

    @staticmethod
    def of(embeddings: Float[Tensor, "items dim"], trie: Trie) -> "LeafEmbeddings":
        """Lies where the trie does.

        Args:
            embeddings: of every item of the catalog, of any length.
            trie: of the catalog.

        Raises:
            ValueError: there is not one embedding per item.
        """
        if len(embeddings) != trie.num_items:
            raise ValueError(
                f"{len(embeddings)} embeddings for a catalog of {trie.num_items} items; embed the "
                "items of this catalog."
            )
        items = functional.normalize(embeddings.float().to(trie.device), dim=1)
        leaf = trie.leaf_of(torch.arange(trie.num_items, device=trie.device)) - trie.first_leaf
        sums = items.new_zeros(trie.num_leaves, items.shape[1]).index_add_(0, leaf, items)
        counts = torch.bincount(leaf, minlength=trie.num_leaves)
        return LeafEmbeddings(
            items=items, leaves=sums / counts[:, None], first_leaf=trie.first_leaf
        )

    def to(self, device: torch.device | str) -> "LeafEmbeddings":
        """Copies the embeddings to `device`."""
        return LeafEmbeddings(
            items=self.items.to(device),
            leaves=self.leaves.to(device),
            first_leaf=self.first_leaf,
        )

    def at(self, leaves: Int[Tensor, "users width"]) -> Float[Tensor, "users width dim"]:
        """The embedding of each leaf; whatever at states that are no leaves."""
        return self.leaves[(leaves - self.first_leaf).clamp(min=0)]
