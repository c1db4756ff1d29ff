"""Runs of kind lares: LARES over item IDs, its self-supervised stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import LaresConfig
from sidestep.runs.tied_network_run import TiedNetworkRun
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import AlignedDepthConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep.model import lares
    from sidestep.training import latent_reasoning
    from sidestep.training import objective as objectives


class LaresRun(TiedNetworkRun):
    """LARES over item IDs; a run of kind lares-reward improves it by its reward stage."""

    kind: Literal["lares"] = "lares"
    model: LaresConfig = LaresConfig()
    objective: Annotated[AlignedDepthConfig | OwnObjectiveConfig, or_own(AlignedDepthConfig)] = (
        AlignedDepthConfig()
    )
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=100)

    @property
    def network_class(self) -> type[lares.Lares]:
        """See `TiedNetworkRun.network_class`."""
        return lares.Lares

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        return {**super().search_space, "model.mean_depth": "2..6"}

    def made_objective(self, network: Any) -> objectives.Objective:
        """The objective, which trains the network."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        return latent_reasoning.AlignedDepthObjective(network, self.objective)
