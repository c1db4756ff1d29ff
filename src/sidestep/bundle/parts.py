"""Parts beside a network: one `Part` per kind, which every file of this package reads.

A process reward model scores prefixes before they are extended. A value head predicts the reward of
extended prefixes. Both read the states of the network and change nothing of it. A ranker scores all
items from the history alone. Reading this module needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from sidestep.bundle.choices import NewRows
from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import ProcessRewardConfig, SasRecConfig, ValueHeadConfig
from sidestep.search.config import GuidanceConfig

with imported_when_used():
    from sidestep.baselines import fitted_ranker
    from sidestep.bundle import columns, fitted_kinds, item_rows, networks, prefix_rows
    from sidestep.catalog import catalog as catalogs
    from sidestep.catalog import space as spaces
    from sidestep.model import process_reward, sasrec, semantic_id_model, value_head
    from sidestep.search import policy as policies

PROCESS_REWARD = "process_reward"
VALUE_HEAD = "value_head"
RANKER = "ranker"

VECTORS_SHA256 = "vectors_sha256"
"""The entry of a fitted recommender's manifest that names the vectors of items which it compares,
see `sidestep.tokenizer.kept.VectorsFingerprint`."""

GRAPH_WEIGHT = 120.0
"""The weight of a transition graph where none is given: its scores are shares, from 0 to 1."""


class KeptProcessReward(BaseModel):
    """The entry of a process reward model; its weights have a file of their own.

    model: its shape.
    guidance: of the search by which its weights were chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ProcessRewardConfig
    guidance: GuidanceConfig


class ValueUse(BaseModel):
    """The intended use of values.

    guidance: of the search by which the weights of the head were chosen.
    gamma: the worth of a reward one code earlier, when the values were learned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    guidance: GuidanceConfig = GuidanceConfig()
    gamma: float = Field(0.99, ge=0, le=1)


class KeptValueHead(ValueUse):
    """The entry of a value head; its weights have a file of their own.

    model: its shape.
    """

    model: ValueHeadConfig


class FittedRankerConfig(BaseModel):
    """The configuration of a ranker without a network.

    fitted: the kind of the fitted recommender, such as `graph`.
    max_history: most recent items that the recommender was fitted to look at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fitted: str
    max_history: int = Field(ge=1)


class KeptRanker(BaseModel):
    """The entry of a ranker of items; its weights have a file of their own.

    model: the shape of a SASRec, or the kind of a fitted recommender.
    max_history: most recent items that are shown to it, of those that the network is shown.
    weight: of its scores beside those of the item head, or of the network that scores items.
    guidance: the default one of the search that ranker and item head guide.
    trained: the seed, and a summary of the training.
    data: name and hashes of the dataset; empty where the dataset is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: SasRecConfig | FittedRankerConfig
    max_history: int = Field(ge=1)
    weight: float = Field(gt=0, allow_inf_nan=False)
    guidance: GuidanceConfig
    trained: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The growth of a catalog.

    old, new: the catalog before and after, on the CPU; old items keep their places.
    new_rows: see `sidestep.bundle.item_rows`.
    vectors: of the new items, from the embedding that a fitted ranker compares items by; None where
        they are not known.
    """

    old: catalogs.Catalog
    new: catalogs.Catalog
    new_rows: NewRows
    vectors: Float[np.ndarray, "new dim"] | None = None

    @property
    def num_new(self) -> int:
        """Items that came."""
        return self.new.num_items - self.old.num_items


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A kind of part.

    name: in manifests, and of the file of the weights.
    words: the name in messages.
    entry: the entry in manifests, whose field `model` is the configuration of the module.
    make: makes the untrained module, from the configuration, the network and the catalog.
    remade: makes a fitted module from its configuration, the catalog and its arrays; None where
        the configuration is of a module that `make` makes.
    misfit: says why a module does not fit a catalog; None where it does.
    grown: the weights of a module after a catalog has grown.
    reads_states: whether the part reads the states of a network of semantic IDs, and so is lost
        when the network is trained further.
    """

    name: str
    words: str
    entry: type[BaseModel]
    make: Callable[[Any, Any, catalogs.Catalog], networks.Module]
    misfit: Callable[[Any, catalogs.Catalog], str | None]
    grown: Callable[[Any, Growth], networks.Weights]
    reads_states: bool
    remade: Callable[[Any, catalogs.Catalog, networks.Weights], networks.Module | None] = (
        lambda config, catalog, weights: None
    )

    @property
    def file(self) -> str:
        """The file of the weights."""
        return f"{self.name}.safetensors"

    def build(
        self,
        config: BaseModel,
        network: networks.Network | None,
        catalog: catalogs.Catalog,
        weights: networks.Weights,
    ) -> networks.Module:
        """The module of a bundle, in `eval` mode and frozen.

        Raises:
            ValueError: the weights are another module's, the network has no states to read, or the
                catalog lacks a column of items that the module reads.
        """
        self.refuse_network(network)
        remade = self.remade(config, catalog, weights)
        if remade is not None:
            return remade

        def made() -> networks.Module:
            return self.make(config, network, catalog)

        module = networks.with_weights(config.model_dump(), made, weights)
        columns.read_item_columns(module, catalog)
        return module

    def refuse_misfit(
        self, module: networks.Module, network: networks.Network | None, catalog: catalogs.Catalog
    ) -> None:
        """Raises a `ValueError` unless a module is of this network and catalog."""
        self.refuse_network(network)
        misfit = self.misfit(module, catalog)
        if misfit is not None:
            raise ValueError(f"the {self.words} {misfit}")

    def refuse_network(self, network: networks.Network | None) -> None:
        """Raises a `ValueError` for a network that the part cannot stand beside."""
        if self.reads_states and not isinstance(network, semantic_id_model.SemanticIdModel):
            raise ValueError(
                f"a {self.words} reads the states of a network of semantic IDs, and the bundle has "
                "none; leave it out."
            )
        if network is None:
            raise ValueError(
                f"a {self.words} stands beside a network, and the bundle has none; leave it out."
            )

    def after_growth(
        self, module: Any, network: networks.Network | None, growth: Growth
    ) -> networks.Module:
        """The module for a catalog with appended items.

        Raises:
            ValueError: the module cannot know new items.
        """
        weights = self.grown(module, growth)
        return self.build(module.config, network, growth.new, weights)


def _process_reward_misfit(module: Any, catalog: catalogs.Catalog) -> str | None:
    return spaces.features_misfit(module.num_features, policies.described_space(catalog.spanned))


def _value_head_misfit(module: Any, catalog: catalogs.Catalog) -> str | None:
    if module.num_levels == catalog.num_levels:
        return None
    return (
        f"is of semantic IDs of {module.num_levels} codes, but those of the catalog have "
        f"{catalog.num_levels}; train it again on this catalog."
    )


def _ranker_misfit(module: Any, catalog: catalogs.Catalog) -> str | None:
    if module.num_items == catalog.num_items:
        return None
    return (
        f"knows {module.num_items} items, but the catalog has {catalog.num_items}; train it on the "
        "same data."
    )


def _fitted_ranker(
    config: Any, catalog: catalogs.Catalog, weights: networks.Weights
) -> networks.Module | None:
    """See `Part.remade`; of a ranker."""
    if not isinstance(config, FittedRankerConfig):
        return None
    own = fitted_kinds.fitted_of_kind(config.fitted)
    if own is None:
        raise ValueError(f"fitted is {config.fitted!r:.60}, which is no fitted recommender")
    arrays = {name: values.numpy() for name, values in weights.items()}
    recommender = own.from_arrays(arrays, catalog.num_items, max_history=config.max_history)
    return fitted_ranker.FittedRanker(recommender, config)


def _grown_ranker(module: Any, growth: Growth) -> networks.Weights:
    """See `Part.grown`; of a ranker."""
    if isinstance(module.config, FittedRankerConfig):
        weights: networks.Weights = module.grown_weights(growth.num_new, growth.vectors)
        return weights
    weights = item_rows.with_items(
        networks.plain_weights(module), growth.old, growth.new, growth.new_rows
    )
    return item_rows.with_codes(weights, growth.old, growth.new)


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        part.name: part
        for part in (
            Part(
                name=PROCESS_REWARD,
                words="process reward model",
                entry=KeptProcessReward,
                make=lambda config, network, catalog: process_reward.ProcessRewardModel(
                    config,
                    num_features=policies.described_space(catalog.spanned).num_features,
                    memory_dim=network.head_weight.shape[1],
                ),
                misfit=_process_reward_misfit,
                grown=lambda module, growth: prefix_rows.with_new_features(
                    module, growth.old, growth.new
                ),
                reads_states=True,
            ),
            Part(
                name=VALUE_HEAD,
                words="value head",
                entry=KeptValueHead,
                make=lambda config, network, catalog: value_head.ValueHead(
                    config, dim=network.head_weight.shape[1], num_levels=catalog.num_levels
                ),
                misfit=_value_head_misfit,
                grown=lambda module, growth: networks.plain_weights(module),
                reads_states=True,
            ),
            Part(
                name=RANKER,
                words="ranker",
                entry=KeptRanker,
                make=lambda config, network, catalog: sasrec.SasRec.of_codes(
                    config, catalog.semantic_ids, catalog.codebook_sizes
                ),
                misfit=_ranker_misfit,
                grown=_grown_ranker,
                reads_states=False,
                remade=_fitted_ranker,
            ),
        )
    }
)
"""The kinds of parts, by name."""
