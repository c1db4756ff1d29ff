"""Kinds of run: what each is made from, what it trains, and what it leaves as a bundle.

A new kind is a configuration in `config`, a class here, and its case in `prepared`; how any of them
is trained stands in `run_training`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from sidestep.bundle.folder import save_bundle, save_loaded
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import ValueUse
from sidestep.bundle.networks import Network
from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.data.popularity import weighted_target_counts
from sidestep.data.splits import Split
from sidestep.data.windows import Windows, training_windows
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.sasrec import SasRec
from sidestep.model.semantic_id_model import WEIGHTS_NEED_ITEMS, SemanticIdModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.runs.backbones import load_backbone
from sidestep.runs.catalogs import flat_catalog
from sidestep.runs.config import (
    AlignRun,
    AnyRun,
    BackboneRun,
    BesideRun,
    CountedRun,
    PopularityRun,
    PreferRun,
    ProcessRewardRun,
    RepeatsRun,
    SasRecRun,
    TransformerRun,
    ValueRun,
)
from sidestep.runs.memory import refuse_beyond_memory, refuse_prefixes_beyond_memory
from sidestep.runs.provenance import counted_catalog
from sidestep.runs.reward_sources import embeddings_of, reward_sources, sources_sha256
from sidestep.search.ved import ValueGuidedDecoding
from sidestep.training.alignment import AlignmentObjective
from sidestep.training.preference import PreferenceObjective
from sidestep.training.rewards import Rewards
from sidestep.training.stages import (
    Course,
    Trained,
    prompt_windows,
    train_policy,
    train_process_reward,
    train_sasrec,
    train_semantic_id_model,
    train_value,
    value_windows,
)
from sidestep.training.untrained import (
    new_process_reward,
    new_sasrec,
    new_transformer,
    new_value_head,
)

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Material:
    """What every run is made from.

    split: the rows to learn from and to choose by.
    catalog: the items, in the order of the split.
    max_history: most recent items of a history that are looked at.
    """

    split: Split
    catalog: Catalog
    max_history: int

    def windows(self) -> Windows:
        """All targets of the training part."""
        return training_windows(self.split.train, self.max_history)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a bundle says of the run that made it.

    training: a summary, as JSON; empty where nothing was trained.
    data: name and hashes of the dataset, as JSON.
    """

    seed: int
    training: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunTraining(ABC, Generic[N]):
    """What a run of one kind trains; what it was given fits together."""

    material: Material

    @abstractmethod
    def untrained(self, seed: int) -> tuple[N, Windows]:
        """The network before its training, and what it would learn from.

        Raises:
            ValueError: they do not fit the configuration.
        """

    @abstractmethod
    def train(self, course: Course) -> Trained[N]:
        """See `training.stages`."""

    @abstractmethod
    def save(self, path: Path, network: N, origin: Origin) -> None:
        """Leaves a bundle that recommends by itself."""


@dataclass(frozen=True, slots=True)
class Counting:
    """A run that trains nothing: popularity, and own items before it."""

    material: Material
    config: CountedRun

    def save(self, path: Path, origin: Origin) -> None:
        """Leaves a bundle of counts."""
        train, catalog = self.material.split.train, self.material.catalog
        save_bundle(
            path,
            network=None,
            counts=weighted_target_counts(train.histories, catalog.num_items),
            counted=self.config.kind,
            catalog=catalog,
            max_history=self.material.max_history,
            seed=origin.seed,
            training=origin.training,
            data=origin.data,
        )


@dataclass(frozen=True, slots=True)
class _TransformerTraining(RunTraining[Transformer]):
    """A Transformer over semantic IDs."""

    config: TransformerRun

    def untrained(self, seed: int) -> tuple[Transformer, Windows]:
        config, windows = self.config, self.material.windows()
        network, _ = new_transformer(
            self.material.catalog, config.model, config.objective, windows, seed=seed
        )
        return network, windows

    def train(self, course: Course) -> Trained[Transformer]:
        return train_semantic_id_model(
            self.material.split,
            self.material.catalog,
            model=self.config.model,
            objective=self.config.objective,
            course=course,
        )

    def save(self, path: Path, network: Transformer, origin: Origin) -> None:
        _save_new(path, self.material, network, origin)


@dataclass(frozen=True, slots=True)
class _SasRecTraining(RunTraining[SasRec]):
    """SASRec over item IDs."""

    config: SasRecRun

    def untrained(self, seed: int) -> tuple[SasRec, Windows]:
        windows = self.material.windows()
        network, _ = new_sasrec(
            self.material.catalog.num_items,
            self.config.model,
            self.config.objective,
            windows,
            max_history=self.material.max_history,
            seed=seed,
        )
        return network, windows

    def train(self, course: Course) -> Trained[SasRec]:
        return train_sasrec(
            self.material.split,
            self.material.catalog.num_items,
            model=self.config.model,
            objective=self.config.objective,
            course=course,
        )

    def save(self, path: Path, network: SasRec, origin: Origin) -> None:
        _save_new(path, self.material, network, origin)


@dataclass(frozen=True, slots=True)
class _ProcessRewardTraining(RunTraining[ProcessRewardModel]):
    """A process reward model beside a Transformer, which learns with it where both are joint."""

    config: ProcessRewardRun
    backbone: LoadedRecommender

    def untrained(self, seed: int) -> tuple[ProcessRewardModel, Windows]:
        catalog, backbone = self.material.catalog, _network_of(self.backbone)
        network = new_process_reward(catalog, backbone, self.config.model, seed=seed)
        return network, self.material.windows()

    def train(self, course: Course) -> Trained[ProcessRewardModel]:
        return train_process_reward(
            self.material.split,
            self.material.catalog,
            _network_of(self.backbone),
            model=self.config.model,
            objective=self.config.objective,
            guidance=self.config.guidance,
            course=course,
        )

    def save(self, path: Path, network: ProcessRewardModel, origin: Origin) -> None:
        backbone = self.backbone
        if self.config.objective.joint is not None:  # values were learned on the states of before
            backbone = backbone.without_value_head()
        _save_beside(path, backbone.with_process_reward(network, self.config.guidance), origin)


@dataclass(frozen=True, slots=True)
class _ValueTraining(RunTraining[ValueHead]):
    """A value head beside a network of semantic IDs.

    embeddings: of every item of the catalog.
    """

    config: ValueRun
    backbone: LoadedRecommender
    embeddings: Tensor

    def untrained(self, seed: int) -> tuple[ValueHead, Windows]:
        material, config = self.material, self.config
        head, _ = new_value_head(
            material.catalog,
            _network_of(self.backbone),
            self.embeddings,
            config.model,
            config.objective,
            config.candidates.policy(),
            seed=seed,
        )
        windows = value_windows(material.split, config.objective, max_history=material.max_history)
        return head, windows

    def train(self, course: Course) -> Trained[ValueHead]:
        return train_value(
            self.material.split,
            self.material.catalog,
            _network_of(self.backbone),
            self.embeddings,
            model=self.config.model,
            objective=self.config.objective,
            policy=self.config.candidates.policy(),
            guidance=self.config.guidance,
            course=course,
        )

    def save(self, path: Path, network: ValueHead, origin: Origin) -> None:
        use = ValueUse(guidance=self.config.guidance, gamma=self.config.objective.gamma)
        _save_beside(path, self.backbone.with_value_head(network, use), origin)


@dataclass(frozen=True, slots=True)
class _AlignmentTraining(RunTraining[AlignmentObjective]):
    """Reinforcement learning of a network, and of its value head if that learns too."""

    config: AlignRun
    backbone: LoadedRecommender
    objective: AlignmentObjective

    def untrained(self, seed: int) -> tuple[AlignmentObjective, Windows]:
        del seed  # nothing new is initialised
        material = self.material
        windows = prompt_windows(
            material.split, self.config.objective, max_history=material.max_history
        )
        return self.objective, windows

    def train(self, course: Course) -> Trained[AlignmentObjective]:
        material = self.material
        return train_policy(
            material.split,
            material.catalog,
            self.objective,
            course=course,
            about=sources_sha256(self.config),
        )

    def save(self, path: Path, network: AlignmentObjective, origin: Origin) -> None:
        value = self.config.objective.value
        made = self.backbone.with_moved_network(network.policy, None)
        if value is not None and network.head is not None:
            before = self.backbone.value_use
            assert before is not None, "its head was loaded with its use"
            use = ValueUse(guidance=before.guidance, gamma=value.gamma)
            made = made.with_value_head(network.head, use)
        _save_beside(path, made, origin)


@dataclass(frozen=True, slots=True)
class _PreferenceTraining(RunTraining[PreferenceObjective]):
    """Preference training of a network."""

    config: PreferRun
    backbone: LoadedRecommender

    def untrained(self, seed: int) -> tuple[PreferenceObjective, Windows]:
        del seed  # nothing new is initialised
        material = self.material
        windows = prompt_windows(
            material.split, self.config.objective, max_history=material.max_history
        )
        return self._objective(), windows

    def train(self, course: Course) -> Trained[PreferenceObjective]:
        material = self.material
        return train_policy(material.split, material.catalog, self._objective(), course=course)

    def save(self, path: Path, network: PreferenceObjective, origin: Origin) -> None:
        _save_beside(path, self.backbone.with_moved_network(network.policy, None), origin)

    def _objective(self) -> PreferenceObjective:
        return PreferenceObjective(
            _network_of(self.backbone), self.material.catalog.trie, self.config.objective
        )


def prepared(
    config: AnyRun, dataset: Dataset, catalog: Catalog | None, *, out: Path
) -> RunTraining[Any] | Counting:
    """What a configuration makes of what it is given, by its kind; writes nothing.

    Args:
        config: of the run.
        dataset: its rows.
        catalog: None where none was given.
        out: the folder of the run.

    Raises:
        FileNotFoundError: what the configuration names is not there.
        ValueError: they do not fit each other, or the network does not fit the memory.
    """
    split = split_of(dataset, min_context=config.min_context)
    if isinstance(config, BackboneRun):
        backbone = load_backbone(config, dataset, catalog, out=out)
        _refuse_unread_weights(split, reads_weights=_network_of(backbone).reads_weights)
        material = Material(split, backbone.catalog, backbone.max_history)
        if isinstance(config, BesideRun):
            return _prepared_beside(config, dataset, material, backbone)
        _refuse_lone_leaf(backbone.catalog)
        if isinstance(config, PreferRun):
            return _PreferenceTraining(material, config, backbone)
        return _AlignmentTraining(
            material, config, backbone, _alignment(config, dataset, material, backbone)
        )
    if catalog is not None:
        catalog = counted_catalog(catalog, dataset, split)
    elif isinstance(config, TransformerRun):
        raise ValueError(
            "a transformer needs semantic IDs: give --catalog, from 'sidestep tokenize'."
        )
    if isinstance(config, TransformerRun):
        _refuse_unread_weights(split, reads_weights=config.model.history == "items")
    if not isinstance(config, CountedRun):
        refuse_beyond_memory(config, len(dataset.items))
    material = Material(split, catalog or flat_catalog(dataset, split), config.max_history)
    match config:
        case TransformerRun():
            return _TransformerTraining(material, config)
        case SasRecRun():
            return _SasRecTraining(material, config)
        case PopularityRun() | RepeatsRun():
            return Counting(material, config)


def _refuse_lone_leaf(catalog: Catalog) -> None:
    """Raises a `ValueError` where every search finds the same: there is nothing to prefer."""
    trie = catalog.trie
    if len(trie.nodes_at(trie.num_levels)) < 2:
        raise ValueError(
            "all items of the catalog share one semantic ID, so that a search has nothing to "
            "choose from and nothing would be learned; tokenize with --collisions extra."
        )


def _prepared_beside(
    config: BesideRun, dataset: Dataset, material: Material, backbone: LoadedRecommender
) -> RunTraining[Any]:
    """The catalog and the length of histories are those of the backbone."""
    catalog = backbone.catalog
    match config:
        case ProcessRewardRun():
            refuse_prefixes_beyond_memory(config, catalog.trie.num_nodes())
            return _ProcessRewardTraining(material, config, backbone)
        case ValueRun():
            embeddings = embeddings_of(config.embeddings, dataset)
            return _ValueTraining(material, config, backbone, embeddings)


def _alignment(
    config: AlignRun, dataset: Dataset, material: Material, backbone: LoadedRecommender
) -> AlignmentObjective:
    """What is to be trained, with everything that its rewards are made from."""
    network, catalog = _network_of(backbone), material.catalog
    search = config.objective.rollouts.search
    if search in ("ved", "value-beam") and backbone.value_head is None:
        raise ValueError(
            f"rollouts: {search} reads values, and the backbone {config.backbone} has no value "
            "head; train one beside it with a run of kind value, and name that run."
        )
    policy = config.objective.rollouts.policy()
    if isinstance(policy, ValueGuidedDecoding):
        try:
            policy.tokens(catalog.num_levels)
        except ValueError as error:
            raise ValueError(f"rollouts: {error}") from error
    sources = reward_sources(config, dataset, material.split, catalog, network)
    return AlignmentObjective(
        network,
        catalog.trie,
        Rewards(config.objective.rewards, sources),
        config.objective,
        max_history=material.max_history,
        head=backbone.value_head,
        head_gamma=None if backbone.value_use is None else backbone.value_use.gamma,
        embeddings=sources.embeddings,
    )


def _refuse_unread_weights(split: Split, *, reads_weights: bool) -> None:
    """Raises a `ValueError` where inputs have weights that the network has no place for."""
    if split.scales_inputs and not reads_weights:
        raise ValueError(WEIGHTS_NEED_ITEMS)


def _network_of(backbone: LoadedRecommender) -> SemanticIdModel:
    assert isinstance(backbone.network, SemanticIdModel)
    return backbone.network


def _save_new(path: Path, material: Material, network: Network, origin: Origin) -> None:
    """A bundle of a network that was trained from nothing."""
    save_bundle(
        path,
        network=network,
        catalog=material.catalog,
        max_history=material.max_history,
        seed=origin.seed,
        training=origin.training,
        data=origin.data,
    )


def _save_beside(path: Path, made: LoadedRecommender, origin: Origin) -> None:
    """A bundle of a backbone with what was trained beside it, and with what it had before.

    Args:
        path: the folder.
        made: its manifest still tells of the training of the backbone.
        origin: of what was trained beside it.
    """
    before = made.manifest
    # What answers took both trainings.
    seconds = origin.training["seconds"] + before.training.get("seconds", 0.0)
    training = {
        **origin.training,
        "seconds": seconds,
        "backbone": {"seed": before.seed, **before.training},
    }
    of_this_run = {"seed": origin.seed, "training": training, "data": origin.data}
    save_loaded(path, replace(made, manifest=before.model_copy(update=of_this_run)))
