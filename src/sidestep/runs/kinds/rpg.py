"""Runs of kind rpg: RPG over long product codes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import RpgConfig
from sidestep.runs.item_network_run import ItemNetworkRun
from sidestep.runs.plan import Given, Plan
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import ParallelCodesConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.data import windows as data_windows
    from sidestep.model import rpg
    from sidestep.training import fit, parallel_codes
    from sidestep.training import objective as objectives


class RpgRun(ItemNetworkRun):
    """RPG: all codes of the next item at once, and every item scored by its codes."""

    kind: Literal["rpg"] = "rpg"
    model: RpgConfig = RpgConfig()
    # It learns codes, where its siblings learn items.
    objective: Annotated[ParallelCodesConfig | OwnObjectiveConfig, or_own(ParallelCodesConfig)] = (
        ParallelCodesConfig()  # type: ignore[assignment]
    )
    training: TrainingConfig = TrainingConfig(learning_rate=3e-3, batch_size=256, epochs=150)

    @property
    def needs_catalog(self) -> bool:
        """See `RunConfig.needs_catalog`."""
        return True

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`; the learning rates and temperatures of the paper."""
        return {
            "training.learning_rate": "log:1e-3..1e-2",
            "model.temperature": "0.03..0.07",
            "model.dropout": "0.1..0.6",
        }

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        if given.catalog is None:
            raise ValueError(
                "a run of kind rpg predicts the codes of items: give --catalog, from 'sidestep "
                "tokenize --method opq --space sets' with 16 to 64 codebooks."
            )
        return super().prepare(given)

    def network(
        self, catalog: catalogs.Catalog, windows: data_windows.Windows, *, seed: int
    ) -> rpg.Rpg:
        """The untrained network."""
        del windows
        if self.max_history > self.model.max_items:
            raise ValueError(
                f"max_history is {self.max_history}, but the network sees at most "
                f"{self.model.max_items} items; raise model.max_items or lower max_history."
            )
        with fit.initialised(seed):
            return rpg.Rpg(self.model, catalog.semantic_ids, catalog.codebook_sizes)

    def made_objective(self, network: Any) -> objectives.Objective:
        """The objective, which trains the network."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        return parallel_codes.ParallelCodesObjective(network, self.objective)
