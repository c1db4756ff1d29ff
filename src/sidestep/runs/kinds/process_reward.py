"""Runs of kind process-reward: a process reward model beside a Transformer, also one over sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sidestep.bundle.parts import VALUE_HEAD
from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import ProcessRewardConfig
from sidestep.runs.plan import Given, Material, Plan
from sidestep.runs.run_config import BesideRun
from sidestep.training.objective_config import ProcessRewardTrainingConfig

with imported_when_used():
    from sidestep import recommender as recommenders
    from sidestep.bundle import columns
    from sidestep.bundle import networks as bundled
    from sidestep.model import item_head as item_heads
    from sidestep.model import process_reward as networks
    from sidestep.model import semantic_id_model
    from sidestep.runs import backbones, memory, plan_parts
    from sidestep.search import guided_beam, scorer
    from sidestep.search import policy as policies
    from sidestep.search import process_reward as scorers
    from sidestep.training import fit, repeat_bias
    from sidestep.training import process_reward as objectives


class ProcessRewardRun(BesideRun):
    """A process reward model beside a Transformer; `objective.joint` trains the latter, too."""

    kind: Literal["process-reward"] = "process-reward"
    model: ProcessRewardConfig = ProcessRewardConfig()
    objective: ProcessRewardTrainingConfig = ProcessRewardTrainingConfig()

    fresh_backbone: bool = Field(False, exclude_if=lambda is_fresh: not is_fresh)
    """Whether only the shape of the backbone is taken. The weights of the backbone are drawn anew.
    Then both networks learn together from the first step, as in PROMISE (arXiv:2601.04674, eq. 9).
    Needs `objective.joint`."""

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        return {
            "training.learning_rate": "log:5e-4..5e-3",
            "model.dim": "32,64,128",
            "model.dropout": "0.1..0.5",
            "objective.num_negatives": "log:16..256",
            "guidance.likelihood_weight": "0.0..2.0",
        }

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        found = backbones.load_backbone(self.backbone, given)
        backbone = backbones.network_of(found)
        if not backbone.gives_history_states:
            raise ValueError(
                f"backbone: {self.backbone} is {found.kind}, and a process reward model reads the "
                "state after each past item, which it does not give; name a run of kind "
                "transformer or code-sets."
            )
        material = plan_parts.material_beside(given, found, needs_trie=False)
        described = policies.described_space(material.catalog.spanned)
        memory.refuse_prefixes_beyond_memory(self.model, described.num_features)
        if self.fresh_backbone:
            self._forget(backbone, material, seed=given.seed)
        network = self.network(material, backbone, seed=given.seed)
        beside = found
        if self.objective.joint is not None:  # values were learned on the states of before
            beside = found.without_parts({VALUE_HEAD})
        return Plan(
            material=material,
            learning=self.learning(material, backbone, network),
            save=plan_parts.saving_beside(
                lambda: beside.with_process_reward(network, self.guidance)
            ),
        )

    def _forget(
        self, backbone: semantic_id_model.SemanticIdModel, material: Material, *, seed: int
    ) -> None:
        """Gives a backbone fresh weights; a repeat bias begins at the repeat rate of the windows.

        Raises:
            ValueError: nothing would train the backbone.
        """
        if self.objective.joint is None:
            raise ValueError(
                "fresh_backbone: nothing trains the backbone, so it would stay as it was drawn; "
                f"set objective.joint, such as objective.joint={_joint_of(backbone)}, or leave "
                "fresh_backbone out."
            )
        with fit.initialised(seed):
            drawn = bundled.untrained(backbone, material.catalog)
        backbone.load_state_dict(drawn.state_dict())
        for head in backbone.modules():
            if isinstance(head, item_heads.ItemHead) and head.repeat is not None:
                repeat_bias.begin_at_repeats(head, material.windows(), material.catalog.num_items)

    def network(
        self, material: Material, backbone: semantic_id_model.SemanticIdModel, *, seed: int
    ) -> networks.ProcessRewardModel:
        """The untrained process reward model of the prefixes of a catalog."""
        with fit.initialised(seed):
            return networks.ProcessRewardModel(
                self.model,
                num_features=policies.described_space(material.catalog.spanned).num_features,
                memory_dim=backbone.head_weight.shape[1],
            )

    def learning(
        self,
        material: Material,
        backbone: semantic_id_model.SemanticIdModel,
        network: networks.ProcessRewardModel,
    ) -> fit.Learning:
        """The training; validation is by the search that it guides.

        Args:
            material: the data.
            backbone: a trained Transformer on that catalog; with `objective.joint` it changes.
            network: to be trained.
        """
        catalog, num_beams = material.catalog, self.validation.num_beams
        policy = guided_beam.GuidedBeamSearch(
            guidance=scorer.Guidance(
                scorer=scorers.ProcessReward(network=network),
                likelihood_weight=self.guidance.likelihood_weight,
            ),
            num_beams=num_beams,
            candidates=self.guidance.candidates_per_beam * num_beams,
        )
        return fit.Learning(
            network=network,
            objective=objectives.ProcessRewardObjective(
                network,
                backbone,
                policies.whole_space(catalog.spanned),
                self.objective,
                categories=columns.categories_for(backbone, catalog),
            ),
            windows=material.windows(),
            validation=material.split.validation,
            recommender=lambda device: recommenders.GenerativeRecommender(
                backbone.to(device),
                policies.whole_space(catalog.to(device).spanned),
                policy,
                max_history=material.max_history,
            ),
            about={
                "kind": "process-reward",
                "catalog": catalog.version,
                "backbone": fit.weights_sha256(backbone.state_dict()),
                "model": self.model.model_dump(mode="json"),
                "objective": self.objective.model_dump(mode="json"),
                "guidance": self.guidance.model_dump(mode="json"),
                "max_history": material.max_history,
            },
        )


def _joint_of(backbone: semantic_id_model.SemanticIdModel) -> str:
    """Settings of `objective.joint` that fit a backbone, as the command line takes them."""
    return "{}" if backbone.item_scorer is None else "'{item_weight: 1.0}'"
