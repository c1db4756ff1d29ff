"""Tiny networks over item IDs, one of each kind."""

from typing import Any

import torch
from jaxtyping import Int

from sidestep.model.item_network import ItemNetwork
from sidestep.model.item_networks import ITEM_NETWORKS
from sidestep.model.tied_item_network import TiedItemNetwork

KINDS = tuple(ITEM_NETWORKS)
"""The kinds of networks over item IDs."""

TIED_KINDS = tuple(
    kind for kind, network in ITEM_NETWORKS.items() if issubclass(network, TiedItemNetwork)
)
"""The kinds that score items by their input vectors, and need no codes."""


def tiny_network(
    kind: str,
    semantic_ids: Int[torch.Tensor, "items levels"],
    codebook_sizes: tuple[int, ...],
    **shape: Any,
) -> ItemNetwork:
    """An untrained network of a kind for the items of a catalog."""
    made_of = ITEM_NETWORKS[kind]
    config = made_of.Config(**{"dim": 8, "max_items": 4, **shape})
    return made_of.of_codes(config, semantic_ids, codebook_sizes)
