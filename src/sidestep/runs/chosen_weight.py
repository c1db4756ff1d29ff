"""The choice of the weight of a graph beside a network: validation compares candidates."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sidestep.bundle.attaching import attach_ranker
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.evaluation.evaluator import evaluate
from sidestep.notices import working
from sidestep.search.config import GuidanceConfig
from sidestep.training.config import VALIDATION_METRIC, ValidationConfig
from sidestep.training.fit import validation_rows

WEIGHTS = (30.0, 60.0, 90.0, 120.0, 160.0, 200.0, 260.0, 340.0, 450.0)
"""The weights that are tried. On three data sets, the best ones lay between 120 and 260."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenWeight:
    """The weight that was chosen, and the evidence.

    weight: the best one.
    scores: NDCG@10 on validation of each weight.
    num_rows: validation rows that judged.
    """

    weight: float
    scores: Mapping[float, float]
    num_rows: int

    @property
    def in_words(self) -> str:
        """The weight beside the least and the largest one that was tried."""
        least, largest = min(self.scores), max(self.scores)
        told = (
            f"Weight {self.weight:g}: of {len(self.scores)} weights, it has the highest "
            f"{VALIDATION_METRIC} on {self.num_rows:,} validation rows, "
            f"{self.scores[self.weight]:.4f} ({least:g}: {self.scores[least]:.4f}, {largest:g}: "
            f"{self.scores[largest]:.4f})."
        )
        if self.weight not in (least, largest):
            return told
        return f"{told} This is the end of the range; try others with --weight."

    def noted_in(self, attached: LoadedRecommender) -> LoadedRecommender:
        """A copy of the recommender whose manifest has the evidence; each weight was a trial."""
        training = dict(attached.manifest.training)
        training["trials"] = (training.get("trials") or 0) + len(self.scores)
        training["ranker_weights"] = {f"{weight:g}": self.scores[weight] for weight in self.scores}
        manifest = attached.manifest.model_copy(update={"training": training})
        return replace(attached, manifest=manifest)


def choose_weight(
    loaded: LoadedRecommender,
    graph: LoadedRecommender,
    dataset: Dataset,
    *,
    guidance: GuidanceConfig | None = None,
) -> ChosenWeight | None:
    """The weight of a graph with the highest NDCG@10 on validation rows; the least of equal ones.

    A fixed random choice of rows judges, as in a training.

    Args:
        loaded, graph, guidance: see `attach_ranker`.
        dataset: that both were trained on.

    Returns:
        None where the dataset has no validation rows.

    Raises:
        ValueError: see `attach_ranker`.
    """
    rows = validation_rows(split_of(dataset).validation, ValidationConfig())
    if not len(rows):
        return None
    scores: dict[float, float] = {}
    with working("choosing the weight on validation") as report:
        for number, weight in enumerate(WEIGHTS):
            report("weights", number, len(WEIGHTS))
            both = attach_ranker(loaded, graph, weight=weight, guidance=guidance)
            scores[weight] = evaluate(both.recommender(), rows, k=10).metrics[VALIDATION_METRIC]
    best = max(WEIGHTS, key=lambda weight: scores[weight])
    return ChosenWeight(weight=best, scores=scores, num_rows=len(rows))
