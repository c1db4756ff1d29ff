"""Runs of item networks: the part that baselines over item IDs share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Material, Plan
from sidestep.runs.run_config import LearnedRun, ReadingRun
from sidestep.training.objective_config import NextItemConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep.baselines import item_scores
    from sidestep.bundle import columns
    from sidestep.catalog import catalog as item_catalogs
    from sidestep.data import windows as data_windows
    from sidestep.model import item_network
    from sidestep.runs import catalogs, own_networks, plan_parts
    from sidestep.training import fit, next_item
    from sidestep.training import objective as objectives


class ItemNetworkRun(ReadingRun, LearnedRun):
    """A network over item IDs, by default trained with the cross-entropy over the catalog."""

    objective: Annotated[NextItemConfig | OwnObjectiveConfig, or_own(NextItemConfig)] = (
        NextItemConfig()
    )

    @property
    def is_searched(self) -> bool:
        """See `RunConfig.is_searched`; the network scores every item, also one that reads codes."""
        return False

    @abstractmethod
    def network(
        self, catalog: item_catalogs.Catalog, windows: data_windows.Windows, *, seed: int
    ) -> item_network.ItemNetwork:
        """The untrained network.

        Args:
            catalog: of the items; where none was given, each item is one code.
            windows: the training part.
            seed: of the weights, see `fit.initialised`.

        Raises:
            ValueError: the settings do not fit each other.
        """

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        catalog = given.catalog or catalogs.flat_catalog(given.dataset, given.split)
        material = Material(given.split, catalog, self.max_history)
        learning = self.learning(material, seed=given.seed)
        own_networks.refuse_broken(learning, catalog)
        return Plan(
            material=material,
            learning=learning,
            save=plan_parts.saving_new(material, learning.network),
        )

    def made_objective(self, network: item_network.ItemNetwork) -> objectives.Objective:
        """The objective, which trains the network."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        return next_item.NextItemObjective(network, self.objective)

    def learning(self, material: Material, *, seed: int) -> fit.Learning:
        """The training; validation ranks the whole catalog.

        Raises:
            ValueError: the network of a user's own is no network over item IDs; or see `network`.
        """
        windows = material.windows()
        network = self.network(material.catalog, windows, seed=seed)
        if not isinstance(network, item_network.ItemNetwork):
            raise ValueError(
                f"{self.kind}: network makes a {type(network).__name__}, which is no subclass of "
                "sidestep.model.item_network.ItemNetwork; return such a network."
            )
        columns.read_item_columns(network, material.catalog)
        settings = self.model_dump(mode="json")
        return fit.Learning(
            network=network,
            objective=self.made_objective(network),
            windows=windows,
            validation=material.split.validation,
            recommender=lambda _device: item_scores.ItemNetworkRecommender(
                network, max_history=material.max_history
            ),
            about={
                "kind": self.kind,
                **({"catalog": material.catalog.version} if self.needs_catalog else {}),
                "model": settings.get("model"),
                "objective": settings["objective"],
                "max_history": material.max_history,
            },
        )
