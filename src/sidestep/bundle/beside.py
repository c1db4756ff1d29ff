"""Parts beside a network: how a part is made again, and what appending does to it.

A process reward model scores prefixes that are not extended yet, a value head says what extended
ones promise. Both read the states of the network, which recommends as without them. A ranker scores
all items from the history alone.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from jaxtyping import Float
from pydantic import BaseModel
from torch import Tensor, nn

from sidestep.bundle.networks import Network, plain_weights, refuse_other_shapes
from sidestep.catalog.trie import Trie
from sidestep.model.config import ProcessRewardConfig, SasRecConfig, ValueHeadConfig
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.sasrec import SasRec
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValueHead

N = TypeVar("N", bound=nn.Module)


def refuse_misfit(
    backbone: Network | None,
    trie: Trie,
    *,
    process_reward: ProcessRewardModel | None,
    value_head: ValueHead | None,
    ranker: SasRec | None,
) -> None:
    """Raises a `ValueError` unless what stands beside a network is of it and of this trie."""
    if ranker is not None and backbone is None:
        raise ValueError("a ranker stands beside a network, and the bundle has none; leave it out.")
    if ranker is not None and ranker.num_items != trie.num_items:
        raise ValueError(
            f"the ranker knows {ranker.num_items} items, but the catalog has {trie.num_items}; "
            "train it on the same data."
        )
    for name, network in (("process reward model", process_reward), ("value head", value_head)):
        if network is not None and not isinstance(backbone, SemanticIdModel):
            raise ValueError(
                f"a {name} reads the states of a network of semantic IDs, and the bundle has none; "
                "leave it out."
            )
    if process_reward is not None and process_reward.num_prefixes != trie.num_nodes():
        raise ValueError(
            f"the process reward model knows {process_reward.num_prefixes} prefixes, but the "
            f"catalog has {trie.num_nodes()}; train it again on this catalog."
        )
    if value_head is not None and value_head.num_levels != trie.num_levels:
        raise ValueError(
            f"the value head is of semantic IDs of {value_head.num_levels} codes, but those of the "
            f"catalog have {trie.num_levels}; train it again on this catalog."
        )


def build_process_reward(
    config: ProcessRewardConfig,
    backbone: SemanticIdModel,
    trie: Trie,
    weights: Mapping[str, Tensor],
) -> ProcessRewardModel:
    """The process reward model of a bundle, in `eval` mode and frozen.

    Raises:
        ValueError: the weights are another network's.
    """
    dim = backbone.head_weight.shape[1]
    num_prefixes = trie.num_nodes()
    return _made(
        config,
        lambda: ProcessRewardModel(config, num_prefixes=num_prefixes, memory_dim=dim),
        weights,
    )


def build_value_head(
    config: ValueHeadConfig,
    backbone: SemanticIdModel,
    trie: Trie,
    weights: Mapping[str, Tensor],
) -> ValueHead:
    """The value head of a bundle, in `eval` mode and frozen.

    Raises:
        ValueError: the weights are another network's.
    """
    dim = backbone.head_weight.shape[1]
    return _made(config, lambda: ValueHead(config, dim=dim, num_levels=trie.num_levels), weights)


def build_ranker(config: SasRecConfig, num_items: int, weights: Mapping[str, Tensor]) -> SasRec:
    """The ranker of a bundle, in `eval` mode and frozen.

    Raises:
        ValueError: the weights are another network's.
    """
    return _made(config, lambda: SasRec(config, num_items), weights)


def _made(config: BaseModel, make: Callable[[], N], weights: Mapping[str, Tensor]) -> N:
    # As `build_network`: what the initialisation draws must not disturb the caller.
    with torch.random.fork_rng(devices=[]):
        refuse_other_shapes(config.model_dump(), make, weights)
        network = make()
    network.load_state_dict(weights)
    network.requires_grad_(requires_grad=False).eval()
    return network


def carried_over(
    network: ProcessRewardModel, backbone: SemanticIdModel, old: Trie, new: Trie
) -> ProcessRewardModel:
    """A process reward model for a trie with appended items, which numbers its prefixes otherwise.

    Old prefixes keep their rows, and so their scores. A new one gets the mean row of the old
    prefixes of its own length that share most codes with it: their scores are comparable, those of
    its parent would not be.

    Raises:
        ValueError: prefixes share rows by their numbers, so that old ones would get others' rows.
    """
    if network.config.hashed_rows is not None:
        raise ValueError(
            "the process reward model shares rows among prefixes by their numbers "
            "(model.hashed_rows), which appending changes; append to its backbone, and train a "
            "process reward model on that."
        )
    weights = plain_weights(network)
    weights["embedding.weight"] = _carried_rows(weights["embedding.weight"], old, new)
    return build_process_reward(network.config, backbone, new, weights)


def _carried_rows(rows: Float[Tensor, "old dim"], old: Trie, new: Trie) -> Float[Tensor, "new dim"]:
    items = torch.arange(old.num_items)
    carried = rows.new_zeros(new.num_nodes(), rows.shape[1])
    is_old = torch.zeros(new.num_nodes(), dtype=torch.bool)
    for depth in range(new.num_levels + 1):
        # Items keep their indices and their codes: they say which number became which.
        renumbered = new.ancestor(new.leaf_of(items), depth)
        carried[renumbered] = rows[old.ancestor(old.leaf_of(items), depth)]
        is_old[renumbered] = True
    for depth in range(1, new.num_levels + 1):
        nodes = torch.tensor(new.nodes_at(depth))
        known, unknown = nodes[is_old[nodes]], nodes[~is_old[nodes]]
        # From the root down: what shares more codes has the last word.
        for num_shared in range(depth):
            sums = rows.new_zeros(new.num_nodes(), rows.shape[1])
            sums.index_add_(0, new.ancestor(known, num_shared), carried[known])
            counts = torch.bincount(new.ancestor(known, num_shared), minlength=new.num_nodes())
            shared = new.ancestor(unknown, num_shared)
            has_relatives = counts[shared] > 0
            shared = shared[has_relatives]
            carried[unknown[has_relatives]] = sums[shared] / counts[shared, None]
    return carried
