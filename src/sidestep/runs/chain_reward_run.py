"""Runs that improve a trained network by comparing chains of latent reasoning from other noise."""

from __future__ import annotations

from abc import abstractmethod

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Plan
from sidestep.runs.run_config import ImprovingRun
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import GroupRewardConfig

with imported_when_used():
    from sidestep.baselines import item_scores
    from sidestep.model import latent_reasoning
    from sidestep.runs import backbones, plan_parts
    from sidestep.training import chain_rewards, fit, latest_windows


class ChainRewardRun(ImprovingRun):
    """A trained network whose chains of thought learn from the lists that they end in."""

    objective: GroupRewardConfig = GroupRewardConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-4, batch_size=128, epochs=10)

    @property
    @abstractmethod
    def network_class(self) -> type[latent_reasoning.DrawnChainNetwork]:
        """The class of the network that is improved."""

    @property
    @abstractmethod
    def backbone_kind(self) -> str:
        """The kind of the run that trained the network."""

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {"training.learning_rate": "log:1e-5..1e-3"}
        if self.objective.kl_weight is not None:
            space["objective.kl_weight"] = "log:0.1..3.0"
        return space

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        found, network = backbones.load_backbone_of(
            self.network_class, self.backbone, given, kind=self.backbone_kind
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
