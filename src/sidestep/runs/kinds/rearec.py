"""Runs of kind rearec: ReaRec over item IDs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import model_validator

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import ReaRecConfig
from sidestep.runs.tied_network_run import TiedNetworkRun
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import ReasoningConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep.model import rearec
    from sidestep.training import latent_reasoning
    from sidestep.training import objective as objectives

_OF_STRATEGY = {
    "ensemble": ("diversity_weight",),
    "progressive": (
        "steps_weight",
        "temperature_decay",
        "contrast_weight",
        "contrast_temperature",
        "noise",
    ),
}


class ReaRecRun(TiedNetworkRun):
    """ReaRec over item IDs: SASRec that reasons for some steps before it scores."""

    kind: Literal["rearec"] = "rearec"
    model: ReaRecConfig = ReaRecConfig()
    objective: Annotated[ReasoningConfig | OwnObjectiveConfig, or_own(ReasoningConfig)] = (
        ReasoningConfig()
    )
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=60)

    @model_validator(mode="after")
    def _reads_its_weights(self) -> ReaRecRun:
        """Refuses a setting of the other strategy, which no loss would read."""
        if not isinstance(self.objective, ReasoningConfig):
            return self
        fields = ReasoningConfig.model_fields
        for strategy, names in _OF_STRATEGY.items():
            changed = [n for n in names if getattr(self.objective, n) != fields[n].default]
            if strategy != self.model.reasoning and changed:
                raise ValueError(
                    f"objective.{changed[0]} is of reasoning: {strategy}, and model.reasoning is "
                    f"{self.model.reasoning}; leave {changed[0]} out, or set model.reasoning to "
                    f"{strategy}."
                )
        return self

    @property
    def network_class(self) -> type[rearec.ReaRec]:
        """See `TiedNetworkRun.network_class`."""
        return rearec.ReaRec

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        return {**super().search_space, "model.num_steps": "1..3"}

    def made_objective(self, network: Any) -> objectives.Objective:
        """The objective, which trains the network."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        if self.model.reasoning == "ensemble":
            return latent_reasoning.EnsembleReasoningObjective(network, self.objective)
        return latent_reasoning.ProgressiveReasoningObjective(network, self.objective)
