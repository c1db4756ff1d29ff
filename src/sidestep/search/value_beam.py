"""Value-guided beam search: likelihood proposes prefixes, all are extended, values decide.

A guided beam asks a scorer before it extends; this one reads the value of what was extended, and
pays for it: a value is read from the backbone's own state of a prefix.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.search.levels import Continuations, Propose, refuse_few_candidates, search_by_levels
from sidestep.search.policy import Normaliser, node_values
from sidestep.search.tree import VALUE, Candidates, Tree
from sidestep.step import Context, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueBeamSearch:
    """Keeps, level by level, the K best by V + λ log π of the K+ most likely prefixes.

    Costs 1 + Σ_l (prefixes extended of length l) tokens, leaves included: 1 + L · K+ where every
    level has as many.

    num_beams: K, prefixes kept per level and leaves returned, at most.
    candidates: K+, prefixes extended per level, at most.
    likelihood_weight: λ; log π is of the whole prefix. 0 ranks by value alone.
    normaliser: of the code probabilities.
    """

    num_beams: int = 16
    candidates: int = 32
    likelihood_weight: float = 0.0
    normaliser: Normaliser = "legal"
    name: str = "value-beam"

    def __post_init__(self) -> None:
        refuse_few_candidates(self.num_beams, self.candidates, because="values choose among them")
        if self.likelihood_weight < 0:
            raise ValueError(f"likelihood_weight must be 0 or more, got {self.likelihood_weight}.")

    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of V + λ log π.

        Raises:
            ValueError: the model has no values.
        """
        return search_by_levels(
            model,
            histories,
            scope,
            num_nodes=self.candidates * scope.num_steps,
            normaliser=self.normaliser,
            begin=self._begin,
            score_kind=VALUE if not self.likelihood_weight else f"{VALUE} + log_prob",
            judge=self._judge,
        )

    def _begin(self, root: StepOutput, context: Context) -> Propose:
        return partial(Continuations.likeliest, number=self.candidates)

    def _judge(self, nodes: Tree, step: StepOutput) -> tuple[Tree, Int[Tensor, "users kept"]]:
        """The nodes with what ranks them, and the columns of the best."""
        scores = self.ranked_by(node_values(step), nodes.log_probs)
        _, columns = scores.topk(min(self.num_beams, scores.shape[1]), dim=1)
        return replace(nodes, scores=scores), columns

    def ranked_by(
        self, values: Float[Tensor, "users width"], log_probs: Float[Tensor, "users width"]
    ) -> Float[Tensor, "users width"]:
        """V + λ log π; -inf where `log_probs` is."""
        is_prefix = log_probs > -torch.inf
        mixed = values.float() + self.likelihood_weight * log_probs.masked_fill(~is_prefix, 0.0)
        return mixed.masked_fill(~is_prefix, -torch.inf)
