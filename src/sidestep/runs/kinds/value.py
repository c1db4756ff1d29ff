"""Runs of kind value: a value head beside a network of semantic IDs, or of sets of codes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sidestep.bundle.parts import ValueUse
from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import ValueHeadConfig
from sidestep.runs.plan import Given, Material, Plan
from sidestep.runs.run_config import BesideRun
from sidestep.search.config import NamedSearch
from sidestep.training.objective_config import ValueTrainingConfig

with imported_when_used():
    from sidestep import recommender as recommenders
    from sidestep.catalog import set_space
    from sidestep.model import heads, semantic_id_model, value_head
    from sidestep.runs import backbones, plan_parts, reward_sources
    from sidestep.search import policy as policies
    from sidestep.search import value_beam
    from sidestep.training import fit, latest_windows
    from sidestep.training import value as objectives


class ValueRun(BesideRun):
    """A value head beside a network of semantic IDs."""

    kind: Literal["value"] = "value"

    embeddings: str = Field(min_length=1)
    """The vectors that rewards compare items by: the `.npy` of `sidestep embed`."""

    model: ValueHeadConfig = ValueHeadConfig()
    objective: ValueTrainingConfig = ValueTrainingConfig()

    candidates: NamedSearch = Field(
        default_factory=lambda: NamedSearch.model_validate(
            {"search": "sampling", "num_samples": 12, "temperature": 2.0}
        )
    )
    """The search that finds the items that values are learned on. A hot policy also draws unlikely
    prefixes that are wrong. If only targets were unlikely, V would learn to prefer the unlikely."""

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        return {
            "training.learning_rate": "log:5e-4..5e-3",
            "training.weight_decay": "log:1e-3..0.3",
            "objective.gamma": "0.9..1.0",
            "guidance.likelihood_weight": "0.0..2.0",
        }

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        found = backbones.load_backbone(self.backbone, given)
        material = plan_parts.material_beside(given, found, needs_trie=False)
        space = policies.whole_space(material.catalog.spanned)
        if not isinstance(space, (policies.Scope, set_space.SetSpace)):
            material.catalog.refuse_own_space("a value head")
        embeddings = reward_sources.embeddings_of(self.embeddings, given.dataset)
        head = self.network(material, backbones.network_of(found), seed=given.seed)
        use = ValueUse(guidance=self.guidance, gamma=self.objective.gamma)
        return Plan(
            material=material,
            learning=self.learning(
                material,
                backbones.network_of(found),
                head,
                embeddings,
                self.candidates.policy(),
            ),
            save=plan_parts.saving_beside(lambda: found.with_value_head(head, use)),
        )

    def network(
        self, material: Material, backbone: semantic_id_model.SemanticIdModel, *, seed: int
    ) -> value_head.ValueHead:
        """The untrained value head."""
        with fit.initialised(seed):
            return value_head.ValueHead(
                self.model,
                dim=backbone.head_weight.shape[1],
                num_levels=material.catalog.num_levels,
            )

    def learning(
        self,
        material: Material,
        backbone: semantic_id_model.SemanticIdModel,
        head: value_head.ValueHead,
        embeddings: reward_sources.Embeddings,
        policy: policies.SearchPolicy,
    ) -> fit.Learning:
        """The training, on candidates of a search, beside a network that stays as it is.

        A TD error judges values by values, so the lists of a beam search that reads the values
        choose the weights.

        Args:
            material: the data.
            backbone: a trained network on that catalog.
            head: to be trained.
            embeddings: of every item of the catalog, from a frozen encoder.
            policy: finds the candidates; it may read the values that are being learned.
        """
        catalog, num_beams = material.catalog, self.validation.num_beams
        space = policies.whole_space(catalog.spanned)
        assert isinstance(space, (policies.Scope, set_space.SetSpace)), "others are refused"
        search = value_beam.ValueBeamSearch(
            num_beams=num_beams,
            candidates=self.guidance.candidates_per_beam * num_beams,
            likelihood_weight=self.guidance.likelihood_weight,
        )

        return fit.Learning(
            network=head,
            objective=objectives.ValueObjective(
                head, backbone, space, embeddings, policy, self.objective
            ),
            windows=latest_windows.value_windows(
                material.split, self.objective, max_history=material.max_history
            ),
            validation=material.split.validation,
            recommender=lambda device: recommenders.GenerativeRecommender(
                heads.HeadedModel(backbone.to(device), head),
                policies.whole_space(catalog.to(device).spanned),
                search,
                max_history=material.max_history,
            ),
            about={
                "kind": "value",
                "catalog": catalog.version,
                "backbone": fit.weights_sha256(backbone.state_dict()),
                "embeddings": fit.weights_sha256({"": embeddings}),
                "model": self.model.model_dump(mode="json"),
                "objective": self.objective.model_dump(mode="json"),
                "policy": repr(policy),
                "guidance": self.guidance.model_dump(mode="json"),
                "max_history": material.max_history,
            },
        )
