"""Runs of kind prefer: a trained network, taught to prefer the next item to its own answers."""

from typing import Literal

from pydantic import Field

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Plan
from sidestep.runs.run_config import ImprovingRun
from sidestep.training.objective_config import PreferenceConfig

with imported_when_used():
    from sidestep.runs import backbones, plan_parts
    from sidestep.search import policy as policies
    from sidestep.training import latest_windows, preference


class PreferRun(ImprovingRun):
    """A trained network of semantic IDs, taught to prefer the next item to its own answers."""

    kind: Literal["prefer"] = "prefer"

    objective: PreferenceConfig = Field(default_factory=PreferenceConfig)

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        return {
            "training.learning_rate": "log:3e-5..1e-3",
            "objective.beta": "log:0.03..1.0",
            "objective.num_rejected": "1..12",
        }

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        found = backbones.load_backbone(self.backbone, given)
        material = plan_parts.improved_material(given, found)
        plan_parts.refuse_lone_leaf(material.catalog)
        objective = preference.PreferenceObjective(
            backbones.network_of(found),
            policies.whole_space(material.catalog.spanned),
            self.objective,
        )
        windows = latest_windows.prompt_windows(
            material.split, self.objective, max_history=material.max_history
        )
        return Plan(
            material=material,
            learning=plan_parts.policy_learning(
                material, objective, windows, num_beams=self.validation.num_beams
            ),
            save=plan_parts.saving_beside(lambda: found.with_moved_network(objective.policy, None)),
        )
