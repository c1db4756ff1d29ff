"""Runs of kind align: a trained network of semantic IDs, improved by reinforcement learning."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sidestep.bundle.parts import ValueUse
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Material, Plan
from sidestep.runs.run_config import ImprovingRun
from sidestep.training.alignment_config import AlignmentConfig

with imported_when_used():
    from sidestep.bundle import loaded as bundles
    from sidestep.runs import alignment_page, backbones, plan_parts, reward_sources
    from sidestep.search import policy as policies
    from sidestep.training import alignment, latest_windows, rewards


class AlignRun(ImprovingRun):
    """A trained network of semantic IDs, improved by reinforcement learning on rewards."""

    kind: Literal["align"] = "align"

    embeddings: str | None = None
    """The vectors that the reward `semantic` and values compare items by: the `.npy` of `sidestep
    embed`."""

    collaborative: str | None = None
    """The run that the reward `collaborative` asks: a run or a bundle of kind sasrec."""

    # Left out of files where it is not set, so that runs of older versions go on.
    worth: str | None = Field(None, exclude_if=lambda file: file is None)
    """The table of what items are worth, with the columns `item_id` and `worth`: for the rewards
    `worth`, `log-worth` and `exact-worth`."""

    objective: AlignmentConfig = Field(default_factory=AlignmentConfig)

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {"training.learning_rate": "log:3e-5..1e-3"}
        if self.objective.kl_weight is not None:
            space["objective.kl_weight"] = "log:1e-4..1e-1"
        if self.objective.likelihood is not None:
            space["objective.likelihood_weight"] = "log:0.1..3.0"
        return space

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        found = backbones.load_backbone(self.backbone, given)
        material = plan_parts.improved_material(given, found)
        plan_parts.refuse_lone_leaf(material.catalog)
        objective = self._objective(given, material, found)
        windows = latest_windows.prompt_windows(
            material.split, self.objective, max_history=material.max_history
        )

        def made() -> bundles.LoadedRecommender:
            value = self.objective.value
            moved = found.with_moved_network(objective.policy, None)
            if value is None or objective.head is None:
                return moved
            assert found.value_use is not None, "its head was loaded with its use"
            use = ValueUse(guidance=found.value_use.guidance, gamma=value.gamma)
            return moved.with_value_head(objective.head, use)

        def write_page(folder: Path) -> None:
            alignment_page.write_alignment_page(
                folder,
                objective,
                windows,
                batch_size=self.training.batch_size,
                backbone=self.backbone,
            )

        return Plan(
            material=material,
            learning=plan_parts.policy_learning(
                material,
                objective,
                windows,
                num_beams=self.validation.num_beams,
                about=reward_sources.sources_sha256(
                    self.embeddings, self.collaborative, self.worth
                ),
            ),
            save=plan_parts.saving_beside(made),
            write_page=write_page,
        )

    def _objective(
        self, given: Given, material: Material, backbone: bundles.LoadedRecommender
    ) -> alignment.AlignmentObjective:
        """The objective, with everything that its rewards are made from."""
        network, catalog = backbones.network_of(backbone), material.catalog
        rollouts = self.objective.rollouts
        if rollouts.spec.goes_by == "values" and backbone.value_head is None:
            raise ValueError(
                f"rollouts: {rollouts.search} reads values, and the backbone {self.backbone} has "
                "no value head; train one beside it with a run of kind value, and name that run."
            )
        policy = rollouts.policy()
        if isinstance(policy, policies.SpendsBudget):
            try:
                policy.tokens(catalog.num_levels)
            except ValueError as error:
                raise ValueError(f"rollouts: {error}") from error
        sources = reward_sources.reward_sources(
            given.dataset,
            material.split,
            catalog,
            network,
            embeddings=self.embeddings,
            collaborative=self.collaborative,
            worth=self.worth,
        )
        return alignment.AlignmentObjective(
            network,
            policies.whole_space(catalog.spanned),
            rewards.Rewards(self.objective.rewards, sources),
            self.objective,
            max_history=material.max_history,
            head=backbone.value_head,
            head_gamma=None if backbone.value_use is None else backbone.value_use.gamma,
            embeddings=sources.embeddings,
            categories=sources.head_categories,
        )
