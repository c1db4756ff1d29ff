"""Untrained networks, initialised from a seed, and what will be lowered.

A repeat bias alone is initialised from the data; all other weights follow from the seed.
"""

from jaxtyping import Float
from torch import Tensor

from sidestep.catalog.catalog import Catalog
from sidestep.data.windows import Windows
from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import (
    ProcessRewardConfig,
    SasRecConfig,
    TransformerConfig,
    ValueHeadConfig,
)
from sidestep.model.item_head import ItemHead
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.sasrec import SasRec
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.search.policy import SearchPolicy
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.next_item import NextItemObjective
from sidestep.training.objective_config import NextCodeConfig, NextItemConfig, ValueTrainingConfig
from sidestep.training.random_state import seed_everything, unchanged_random_state
from sidestep.training.value import ValueObjective

with imported_when_used():  # needs SciPy, and a network without a repeat bias needs no repeats
    from sidestep.data import repeats


def new_transformer(
    catalog: Catalog,
    model: TransformerConfig,
    objective: NextCodeConfig,
    windows: Windows,
    *,
    seed: int,
) -> tuple[Transformer, NextCodeObjective]:
    """An untrained Transformer over semantic IDs, and what will be lowered.

    Args:
        catalog: the semantic IDs.
        model: shape of the network.
        objective: what is lowered.
        windows: the training part, whose repeats a repeat bias begins at.
        seed: of the initial weights.

    Raises:
        ValueError: the configurations do not fit each other.
    """
    with unchanged_random_state():
        seed_everything(seed)
        network = Transformer(model, catalog.semantic_ids, catalog.codebook_sizes)
        _begin_at_repeats(network.item_head, windows, catalog.num_items)
        return network, NextCodeObjective(network, objective)


def new_sasrec(
    num_items: int,
    model: SasRecConfig,
    objective: NextItemConfig,
    windows: Windows,
    *,
    max_history: int,
    seed: int,
) -> tuple[SasRec, NextItemObjective]:
    """An untrained SASRec, and what will be lowered.

    What is not said of an argument is as in `new_transformer`.

    Args:
        num_items: items of the catalog.
        max_history: items that the network is shown at most.

    Raises:
        ValueError: `max_history` is more than the network can see.
    """
    if max_history > model.max_items:
        raise ValueError(
            f"max_history is {max_history}, but the network sees at most {model.max_items} items; "
            "raise model.max_items or lower max_history."
        )
    with unchanged_random_state():
        seed_everything(seed)
        network = SasRec(model, num_items)
        _begin_at_repeats(network.item_head, windows, num_items)
        return network, NextItemObjective(network, objective)


def new_process_reward(
    catalog: Catalog, backbone: SemanticIdModel, model: ProcessRewardConfig, *, seed: int
) -> ProcessRewardModel:
    """An untrained process reward model of the prefixes of a catalog."""
    with unchanged_random_state():
        seed_everything(seed)
        return ProcessRewardModel(
            model,
            num_prefixes=catalog.trie.num_nodes(),
            memory_dim=backbone.head_weight.shape[1],
        )


def new_value_head(
    catalog: Catalog,
    backbone: SemanticIdModel,
    embeddings: Float[Tensor, "items dim"],
    model: ValueHeadConfig,
    objective: ValueTrainingConfig,
    policy: SearchPolicy,
    *,
    seed: int,
) -> tuple[ValueHead, ValueObjective]:
    """An untrained value head, and what will be lowered.

    Raises:
        ValueError: the configurations do not fit each other, the catalog or the backbone.
    """
    with unchanged_random_state():
        seed_everything(seed)
        dim = backbone.head_weight.shape[1]
        head = ValueHead(model, dim=dim, num_levels=catalog.trie.num_levels)
        return head, ValueObjective(head, backbone, catalog.trie, embeddings, policy, objective)


def _begin_at_repeats(head: ItemHead | None, windows: Windows, num_items: int) -> None:
    """Lets a repeat bias begin at the training part's own repeat rate; its rate of learning is low.

    The scores of an untrained network are nearly equal, which is what `Repeats.log_odds` supposes.
    """
    if head is not None and head.repeat is not None:
        head.begin_at(repeats.Repeats.of(windows).log_odds(num_items))
