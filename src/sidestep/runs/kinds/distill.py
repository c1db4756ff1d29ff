"""Runs of kind distill: a trained network whose codes learn what its item head knows."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import CodebookOrder
from sidestep.runs.plan import Given, Plan
from sidestep.runs.run_config import ImprovingRun
from sidestep.training.objective_config import TreeDistillationConfig

with imported_when_used():
    from sidestep.bundle import loaded as bundles
    from sidestep.bundle import manifest, parts
    from sidestep.catalog import set_space
    from sidestep.runs import backbones, plan_parts
    from sidestep.search import policy as policies
    from sidestep.training import (
        head_distillation,
        latest_windows,
        set_distillation,
        tree_distillation,
    )


class DistillRun(ImprovingRun):
    """A trained network of semantic IDs whose codes learn what its item head knows.

    If a ranker stands beside the network, head and ranker teach together. Item heads of other runs
    may teach, too (`teachers`). The new bundle recommends by a plain beam, and leaves out a ranker
    that has taught: the network knows what the ranker says. `sidestep attach` puts the ranker
    beside the new network.
    """

    kind: Literal["distill"] = "distill"

    objective: TreeDistillationConfig = TreeDistillationConfig()

    teacher_ranker: bool = Field(True)
    """Whether a ranker beside the backbone teaches, too."""

    teachers: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    """Other runs or bundles over the same items whose item heads teach together with the head of
    the backbone, for example trainings with other seeds or other codes. Rankers beside them do not
    teach."""

    last_code_head: Literal["items"] | None = None
    """`items` lets the item head choose the last code from now on, and the codes of prefixes and
    sets of which few items are left, see `few_items`; null leaves the choice as the backbone has
    it."""

    few_items: int | None = Field(None, ge=0, exclude_if=lambda number: number is None)
    """With `last_code_head: items`: the item head also chooses an earlier code where at most so
    many items are left, see `TransformerConfig` and `CodeSetConfig`. null keeps the number of the
    backbone."""

    prefix_queries: bool | None = Field(None, exclude_if=lambda reads: reads is None)
    """With `last_code_head: items`: whether items are scored by the state of the prefix, too, see
    `TransformerConfig`. null leaves it as the backbone has it."""

    rows_per_code: int | None = Field(None, ge=1, exclude_if=lambda number: number is None)
    """Rows by which a code is scored from now on, see `TransformerConfig`; null keeps the number
    of the backbone."""

    order: CodebookOrder | None = Field(None, exclude_if=lambda order: order is None)
    """The rule by which a network over sets of codes chooses codebooks from now on, see
    `CodeSetConfig`; null keeps the rule of the backbone."""

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        return {
            "training.learning_rate": "log:1e-4..2e-3",
            "objective.teacher_temperature": "log:0.5..2.0",
            "objective.uniform_share": "0.0..0.3",
            "objective.drop_share": "0.0..0.4",
        }

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        found = backbones.load_backbone(self.backbone, given)
        network = backbones.network_of(found)
        material = plan_parts.improved_material(given, found)
        if self.order is not None:
            network = network.with_order(self.order)
        if network.item_scorer is None:  # without a head, no word about what items choose
            raise ValueError(head_distillation.NO_TEACHER)
        if self.last_code_head == "items":
            network = network.with_last_code_by_items(
                self.few_items, prefix_queries=self.prefix_queries
            )
        if self.rows_per_code is not None:
            network = network.with_rows_per_code(self.rows_per_code)
        plan_parts.refuse_lone_leaf(material.catalog)
        use = found.ranker_use if self.teacher_ranker else None
        beside = None
        if use is not None:
            assert found.item_ranker is not None, "a ranker that is used is there"
            beside = head_distillation.RankerBeside(
                ranker=found.item_ranker, network=found.ranker, weight=use.weight
            )
        others = [
            head_distillation.OtherTeacher(
                network=backbones.network_of(teacher), max_history=teacher.max_history
            )
            for teacher in (backbones.load_teacher(name, found, given) for name in self.teachers)
        ]
        _refuse_equal(self.backbone, self.teachers)
        space = policies.whole_space(material.catalog.spanned)
        objective: head_distillation.HeadDistillationObjective[Any]
        if isinstance(space, set_space.SetSpace):
            objective = set_distillation.SetDistillationObjective(
                network,
                space,
                self.objective,
                max_history=material.max_history,
                beside=beside,
                others=others,
            )
        else:
            objective = tree_distillation.TreeDistillationObjective(
                network,
                material.catalog.trie,
                self.objective,
                max_history=material.max_history,
                beside=beside,
                others=others,
            )
        windows = latest_windows.prompt_windows(
            material.split, self.objective, max_history=material.max_history
        )

        about: dict[str, Any] = {
            "few_items": self.few_items,
            "prefix_queries": self.prefix_queries,
            "order": self.order,
            "rows_per_code": self.rows_per_code,
            "teacher_ranker": self.teacher_ranker,
        }
        if self.teachers:  # else runs of older versions go on
            about["teachers"] = [backbones.manifest_sha256(name) for name in self.teachers]

        def made() -> bundles.LoadedRecommender:
            moved = found.with_moved_network(objective.policy, None)
            if use is not None:
                moved = moved.without_parts({parts.RANKER})
            return moved.with_search(manifest.KeptSearch(name="beam"))

        return Plan(
            material=material,
            learning=plan_parts.policy_learning(
                material,
                objective,
                windows,
                num_beams=self.validation.num_beams,
                about=about,
            ),
            save=plan_parts.saving_beside(made),
        )


def _refuse_equal(backbone: str, teachers: tuple[str, ...]) -> None:
    """Raises a `ValueError` where a run would teach twice."""
    hashes = [backbones.manifest_sha256(name) for name in (backbone, *teachers)]
    for number, name in enumerate(teachers, start=1):
        if hashes[number] in hashes[:number]:
            raise ValueError(
                f"teachers: {name} teaches already, as the backbone or as another teacher; name "
                "each run once."
            )
