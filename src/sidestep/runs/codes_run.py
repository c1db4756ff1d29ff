"""Runs over codes: the part that networks over semantic IDs and over sets of codes share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, TypeVar

from sidestep.bundle.manifest import KeptSearch
from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import LanguageModelConfig, T5Config, TransformerConfig
from sidestep.notices import note
from sidestep.runs.plan import Given, Material, Plan
from sidestep.runs.run_config import LearnedRun, ReadingRun
from sidestep.training.objective_config import (
    NextCodeConfig,
    NextCodeSetConfig,
    SupervisedCodesConfig,
)
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep import recommender as recommenders
    from sidestep.bundle import columns
    from sidestep.bundle import networks as networks_of_bundles
    from sidestep.catalog import catalog as catalogs
    from sidestep.catalog import own_space
    from sidestep.data import splits
    from sidestep.data import windows as data_windows
    from sidestep.model import code_set_model, reading, semantic_id_model
    from sidestep.runs import chosen_search, memory, plan_parts
    from sidestep.search import beam
    from sidestep.search import policy as policies
    from sidestep.training import fit, next_code, next_code_set, repeat_bias
    from sidestep.training import objective as objectives

C = TypeVar("C", bound="CodesRun")
TC = TypeVar("TC", bound="TransformerCodesRun")


class CodesRun(ReadingRun, LearnedRun):
    """A network over codes, trained with a supervised loss."""

    model: TransformerConfig | T5Config | LanguageModelConfig
    objective: SupervisedCodesConfig | OwnObjectiveConfig

    @property
    def needs_catalog(self) -> bool:
        """See `RunConfig.needs_catalog`."""
        return True

    @property
    def searches(self) -> tuple[KeptSearch, ...]:
        """The searches of which validation chooses one for the bundle."""
        return (KeptSearch(),)

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {
            "training.learning_rate": "log:5e-4..5e-3",
            "training.weight_decay": "log:1e-3..0.3",
            "model.dropout": "0.05..0.5",
        }
        if isinstance(self.objective, SupervisedCodesConfig):
            space["objective.label_smoothing"] = "0.0,0.1"
        return space

    def _refuse_beyond_memory(self, num_items: int) -> None:
        """Raises a `ValueError` for a network that does not fit the memory."""
        # Only its file tells the size of a language model.
        if not isinstance(self.model, LanguageModelConfig):
            memory.refuse_beyond_memory(self.model, num_items if self.model.item_embedding else 0)

    @abstractmethod
    def refuse_catalog(self, catalog: catalogs.Catalog) -> None:
        """Raises a `ValueError` for a catalog that the network or the loss cannot read."""

    @abstractmethod
    def made_objective(
        self, network: semantic_id_model.SemanticIdModel, catalog: catalogs.Catalog
    ) -> objectives.Objective:
        """The objective, which trains the network.

        Args:
            network: untrained.
            catalog: of the network.
        """

    @abstractmethod
    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """The network with fresh weights."""

    def made_of(self, catalog: catalogs.Catalog) -> dict[str, str]:
        """Hashes of the files that the network of a catalog is made of, by name; for the bundle."""
        del catalog
        return {}

    def completed(self: C, given: Given) -> tuple[C, splits.Split]:
        """The run with what only the data tell of its network, and the split that it reads.

        Raises:
            ValueError: the data lack what the network reads.
        """
        return self, given.split

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        if given.catalog is None:
            raise ValueError(
                f"a run of kind {self.kind} needs semantic IDs: give --catalog, from 'sidestep "
                "tokenize'."
            )
        self.refuse_catalog(given.catalog)
        reads_weights = reading.READERS[self.model.history].reads_weights
        plan_parts.refuse_unread_weights(given.split, reads_weights=reads_weights)
        self._refuse_beyond_memory(len(given.dataset.items))
        run, split = self.completed(given)
        material = Material(split, given.catalog, self.max_history)
        learning = run.learning(material, seed=given.seed)
        network = learning.network
        assert isinstance(network, semantic_id_model.SemanticIdModel)
        self._refuse_other_actions(network, given.catalog)
        # item-beam sums over the items beyond a state, and not every space tells these items.
        searches = self.searches if given.catalog.lists_items else (KeptSearch(),)
        if self.model.history != "codes" and given.catalog.space is None:
            note(
                f"'sidestep export' writes no network with model.history: {self.model.history}; "
                "to export the network to Hugging Face, train it with model.history: codes."
            )
        return Plan(
            material=material,
            learning=learning,
            save=plan_parts.saving_new(
                material,
                learning.network,
                choose=lambda: chosen_search.choose_search(
                    network, material, searches, self.validation
                ),
                about=run.made_of(given.catalog),
            ),
        )

    def _refuse_other_actions(
        self, network: semantic_id_model.SemanticIdModel, catalog: catalogs.Catalog
    ) -> None:
        """Raises a `ValueError` where the network's logits are no actions of the code space."""
        num_actions = policies.whole_space(catalog.spanned).num_actions
        if network.num_actions != num_actions:
            raise ValueError(
                f"a network of kind {self.kind} chooses among {network.num_actions} actions at "
                f"every step, but the space {catalog.space} of this catalog has {num_actions}; "
                "train a run of kind code-sets for --space sets, a run of your own kind for a "
                "space of your own, or tokenize with --space trie."
            )

    def learning(self, material: Material, *, seed: int) -> fit.Learning:
        """The training; validation is by beam search.

        Raises:
            ValueError: the configurations do not fit each other.
        """
        windows = material.windows()
        network = self.network(material.catalog, windows, seed=seed)
        columns.read_item_columns(network, material.catalog)
        policy = beam.BeamSearch(num_beams=self.validation.num_beams)
        catalog = material.catalog
        return fit.Learning(
            network=network,
            objective=self.made_objective(network, catalog),
            windows=windows,
            validation=material.split.validation,
            recommender=lambda device: recommenders.GenerativeRecommender(
                network,
                policies.whole_space(catalog.to(device).spanned),
                policy,
                max_history=material.max_history,
            ),
            about={
                "kind": networks_of_bundles.kind_of(network),
                "catalog": material.catalog.version,
                "model": self.model.model_dump(mode="json"),
                "objective": self.objective.model_dump(mode="json"),
                "max_history": material.max_history,
                **self.made_of(catalog),
            },
        )

    def network(
        self, catalog: catalogs.Catalog, windows: data_windows.Windows, *, seed: int
    ) -> semantic_id_model.SemanticIdModel:
        """The untrained network; a repeat bias begins at the repeats of the windows.

        A kind of a user's own may make another network over semantic IDs here.
        """
        with fit.initialised(seed):
            network = self.untrained(catalog)
        head = getattr(network, "item_head", None)
        if head is not None and head.repeat is not None:
            repeat_bias.begin_at_repeats(head, windows, catalog.num_items)
        return network


class TransformerCodesRun(CodesRun):
    """A run over codes whose network is a Transformer, which may read columns and score items."""

    model: TransformerConfig

    @property
    def searches(self) -> tuple[KeptSearch, ...]:
        """See `CodesRun.searches`."""
        guided = KeptSearch(name="item-beam", likelihood_weight=0.5)
        return (guided, KeptSearch()) if self.model.item_head else (KeptSearch(),)

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = super().search_space
        if self.model.item_head and isinstance(self.objective, SupervisedCodesConfig):
            space["objective.item_weight"] = "log:0.3..3.0"
        return space

    def completed(self: TC, given: Given) -> tuple[TC, splits.Split]:
        """See `CodesRun.completed`."""
        plan_parts.refuse_missing_times(given.split, reads_times=self.model.times is not None)
        known = plan_parts.with_known_values(self.model, given)
        split = columns.with_user_columns(given.split, known.user_columns, given.dataset.users)
        return self.model_copy(update={"model": known}), split


class OrderedCodesRun(CodesRun):
    """A run over codes in an order; a catalog of sets is refused."""

    objective: Annotated[NextCodeConfig | OwnObjectiveConfig, or_own(NextCodeConfig)] = (
        NextCodeConfig()
    )

    def refuse_catalog(self, catalog: catalogs.Catalog) -> None:
        """See `CodesRun.refuse_catalog`.

        Settings that read prefixes are refused where the codes span no trie.
        """
        if catalog.space == own_space.SETS:
            raise ValueError(
                f"the codes of this catalog are sets, and a run of kind {self.kind} needs codes in "
                "an order; train a run of kind code-sets, or tokenize with --space trie."
            )
        if isinstance(self.objective, NextCodeConfig):
            for setting in ("beam_aware", "distillation_weight"):
                if getattr(self.objective, setting) is not None:
                    catalog.refuse_own_space(f"objective.{setting}")

    def made_objective(
        self, network: semantic_id_model.SemanticIdModel, catalog: catalogs.Catalog
    ) -> objectives.Objective:
        """See `CodesRun.made_objective`."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        categories = columns.categories_for(network, catalog)
        return next_code.NextCodeObjective(network, self.objective, categories=categories)


class SetsRun(CodesRun):
    """A run over sets of codes; the catalog must be one of sets."""

    objective: Annotated[NextCodeSetConfig | OwnObjectiveConfig, or_own(NextCodeSetConfig)] = (
        NextCodeSetConfig()
    )

    def refuse_catalog(self, catalog: catalogs.Catalog) -> None:
        """See `CodesRun.refuse_catalog`; codes in an order are refused."""
        if catalog.space != own_space.SETS:
            raise ValueError(
                f"a run of kind {self.kind} needs a catalog whose codes are sets, and the codes of "
                "this catalog have an order; make a catalog with 'sidestep tokenize --space sets', "
                "or train a run of kind transformer."
            )

    def made_objective(
        self, network: semantic_id_model.SemanticIdModel, catalog: catalogs.Catalog
    ) -> objectives.Objective:
        """See `CodesRun.made_objective`."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        assert isinstance(network, code_set_model.CodeSetModel)
        categories = columns.categories_for(network, catalog)
        return next_code_set.NextCodeSetObjective(network, self.objective, categories=categories)
