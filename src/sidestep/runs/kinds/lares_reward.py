"""Runs of kind lares-reward: a trained LARES, improved by its reward stage."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Plan
from sidestep.runs.run_config import ImprovingRun
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import GroupRewardConfig

with imported_when_used():
    from sidestep.baselines import item_scores
    from sidestep.model import lares
    from sidestep.runs import backbones, plan_parts
    from sidestep.training import chain_rewards, fit, latest_windows


class LaresRewardRun(ImprovingRun):
    """A trained LARES whose chains of thought learn from the lists that they end in."""

    kind: Literal["lares-reward"] = "lares-reward"
    objective: GroupRewardConfig = GroupRewardConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-4, batch_size=128, epochs=10)

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {"training.learning_rate": "log:1e-5..1e-3"}
        if self.objective.kl_weight is not None:
            space["objective.kl_weight"] = "log:0.1..3.0"
        return space

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        found, network = backbones.load_item_backbone(
            self.backbone, given, lares.Lares, kind="lares"
        )
        material = plan_parts.item_material_beside(given, found)
        policy = fit.weights_sha256(network.state_dict())
        return Plan(
            material=material,
            learning=fit.Learning(
                network=network,
                objective=chain_rewards.ChainRewardObjective(network, self.objective),
                windows=latest_windows.latest_windows(
                    material.split,
                    targets_per_window=self.objective.targets_per_window,
                    num_windows=self.objective.num_prompts,
                    max_history=material.max_history,
                ),
                validation=material.split.validation,
                recommender=lambda _device: item_scores.ItemNetworkRecommender(
                    network, max_history=material.max_history
                ),
                about={
                    "kind": self.kind,
                    "policy": policy,
                    "objective": self.objective.model_dump(mode="json"),
                    "max_history": material.max_history,
                },
            ),
            save=plan_parts.saving_beside(lambda: found.with_moved_network(network, None)),
        )
