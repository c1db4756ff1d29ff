"""The choice of the search that a new bundle recommends by: validation compares candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidestep.bundle.kept_searches import policy_of
from sidestep.bundle.manifest import KeptSearch
from sidestep.evaluation.evaluator import evaluate
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.notices import note
from sidestep.recommender import GenerativeRecommender
from sidestep.runs.plan import Material
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import whole_space
from sidestep.training.config import VALIDATION_METRIC, ValidationConfig
from sidestep.training.fit import validation_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenSearch:
    """The search that was chosen, and the evidence.

    search: the best of the candidates.
    scores: NDCG@10 on validation of each candidate, by its name and options; empty where nothing
        was measured.
    """

    search: KeptSearch
    scores: Mapping[str, float]

    @property
    def summary(self) -> dict[str, Any]:
        """The evidence for a manifest; empty where there is none."""
        return {"searches": dict(self.scores)} if self.scores else {}


def choose_search(
    network: SemanticIdModel,
    material: Material,
    candidates: Sequence[KeptSearch],
    validation: ValidationConfig,
) -> ChosenSearch:
    """The candidate with the highest NDCG@10 on the validation rows; the first of equal ones.

    One candidate, or no validation row, leaves nothing to measure: the first candidate is taken.

    Args:
        network: with its final weights.
        material: the data.
        candidates: at least one, of different names or options.
        validation: which rows are ranked, and how wide the searches are.
    """
    rows = validation_rows(material.split.validation, validation)
    if len(candidates) == 1 or not len(rows):
        return ChosenSearch(search=candidates[0], scores={})
    device = network.semantic_ids.device
    space = whole_space(material.catalog.to(device).spanned)
    head = network.item_scorer
    items = None if head is None else ItemSupport(head=head)
    scores: dict[str, float] = {}
    for candidate in candidates:
        policy = policy_of(candidate, items, num_beams=validation.num_beams)
        evaluation = evaluate(
            GenerativeRecommender(network, space, policy, max_history=material.max_history),
            rows,
            k=10,  # fewer beams find fewer, and are judged by as many
            batch_size=validation.batch_size,
            device=device,
        )
        scores[candidate.in_words] = evaluation.metrics[VALIDATION_METRIC]
    best = max(candidates, key=lambda candidate: scores[candidate.in_words])
    told = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    note(
        f"{VALIDATION_METRIC} on validation: {told}. The run recommends by {best.in_words}; "
        "--search takes another search."
    )
    return ChosenSearch(search=best, scores=scores)
