"""Runs of kind diffureason: DiffuReason over item IDs, its supervised stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import DiffuReasonConfig
from sidestep.runs.tied_network_run import TiedNetworkRun
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import RefinementConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep.model import diffureason
    from sidestep.training import latent_reasoning
    from sidestep.training import objective as objectives


class DiffuReasonRun(TiedNetworkRun):
    """DiffuReason over item IDs; a run of kind diffureason-reward improves it by rewards."""

    kind: Literal["diffureason"] = "diffureason"
    model: DiffuReasonConfig = DiffuReasonConfig()
    objective: Annotated[RefinementConfig | OwnObjectiveConfig, or_own(RefinementConfig)] = (
        RefinementConfig()
    )
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=60)

    @property
    def network_class(self) -> type[diffureason.DiffuReason]:
        """See `TiedNetworkRun.network_class`."""
        return diffureason.DiffuReason

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {**super().search_space, "model.num_steps": "1..3"}
        if isinstance(self.objective, RefinementConfig):
            space["objective.denoising_weight"] = "log:0.1..10.0"
        return space

    def made_objective(self, network: Any) -> objectives.Objective:
        """The objective, which trains the network."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        return latent_reasoning.RefinementObjective(network, self.objective)
