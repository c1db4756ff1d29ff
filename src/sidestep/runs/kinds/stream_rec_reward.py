"""Runs of kind stream-rec-reward: a trained STREAM-Rec, improved by its reward stage."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Plan
from sidestep.runs.run_config import ImprovingRun
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import ThoughtRewardConfig

with imported_when_used():
    from sidestep.model import stream_rec
    from sidestep.runs import backbones, plan_parts
    from sidestep.training import latest_windows, thought_rewards


class StreamRecRewardRun(ImprovingRun):
    """A trained STREAM-Rec whose thoughts learn from the answers that they lead to."""

    kind: Literal["stream-rec-reward"] = "stream-rec-reward"
    objective: ThoughtRewardConfig = ThoughtRewardConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-4, batch_size=64, epochs=4)

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {"training.learning_rate": "log:1e-5..1e-3"}
        if self.objective.kl_weight is not None:
            space["objective.kl_weight"] = "log:1e-3..1.0"
        return space

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        found, network = backbones.load_backbone_of(
            stream_rec.StreamRec, self.backbone, given, kind="stream-rec"
        )
        material = plan_parts.material_beside(given, found)
        objective = thought_rewards.ThoughtRewardObjective(network, self.objective)
        return Plan(
            material=material,
            learning=plan_parts.policy_learning(
                material,
                objective,
                latest_windows.latest_windows(
                    material.split,
                    targets_per_window=self.objective.targets_per_window,
                    num_windows=self.objective.num_prompts,
                    max_history=material.max_history,
                ),
                num_beams=self.validation.num_beams,
            ),
            save=plan_parts.saving_beside(lambda: found.with_moved_network(objective.policy, None)),
        )
