"""Guided beam search: likelihood proposes prefixes, a scorer decides which survive.

PROMISE's PRM-guided beam search (arXiv:2601.04674, Alg. 1), with any scorer.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.search.levels import Continuations, Prefixes, Propose, search_by_levels
from sidestep.search.policy import Normaliser
from sidestep.search.scorer import Guidance
from sidestep.search.spent import Spent
from sidestep.search.tree import LOG_PROB, Candidates
from sidestep.step import Context, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidedBeamSearch:
    """Keeps, level by level, the K' best of the K+ most likely prefixes by what guides it.

    Costs the tokens of a beam search of the same width: a candidate that is scored and dropped
    costs none. Departure from Alg. 1: the K+ most likely continuations of all beams are taken,
    however many of them continue one beam, so that the first level has K+ of them too.

    guidance: what ranks the candidates and, at the last level, the leaves.
    num_beams: K', prefixes kept per level and leaves returned, at most.
    candidates: K+, prefixes scored per level, at most; one number for all levels or one for each,
        where None keeps the most likely unscored.
    normaliser: of the code probabilities.
    """

    guidance: Guidance
    num_beams: int = 50
    candidates: int | tuple[int | None, ...] = 200
    normaliser: Normaliser = "legal"
    name: str = "prm-beam"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {self.num_beams}.")
        scored = [number for number in self._candidates() if number is not None]
        if not scored:
            raise ValueError("candidates is None at every level: that is a plain beam search.")
        if min(scored) < self.num_beams:
            raise ValueError(
                f"candidates must be at least num_beams, got {self.candidates} for "
                f"{self.num_beams}; the scorer chooses among them."
            )

    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of their score.

        Raises:
            ValueError: there are numbers or weights for each level of another catalog.
        """
        candidates, num_levels = self._candidates(), scope.num_steps
        if len(candidates) not in (1, num_levels):
            raise ValueError(
                f"candidates has {len(candidates)} entries, but semantic IDs have {num_levels} "
                "codes; give one number, or one per level."
            )
        per_level = candidates * num_levels if len(candidates) == 1 else candidates

        asked: list[Tensor] = []

        def begin(root: StepOutput, context: Context) -> Propose:
            scores_of = self.guidance.begin(histories, root, context, scope)

            def propose(longer: Continuations) -> Prefixes:
                number = per_level[longer.depth - 1]
                if number is None:
                    return longer.likeliest(self.num_beams)
                likely = longer.likeliest(number)
                states = longer.states_of(likely)
                asked.append(states)
                scores = scores_of(states, longer.depth)
                ranked_by = self.guidance.ranked_by(scores, likely.log_probs, longer.depth)
                return likely.best(ranked_by, self.num_beams)

            return propose

        found = search_by_levels(
            model,
            histories,
            scope,
            num_nodes=self.num_beams * (num_levels - 1),
            normaliser=self.normaliser,
            begin=begin,
            score_kind=LOG_PROB if per_level[-1] is None else self.guidance.score_kind,
        )
        scores = Spent.on_scores(self.guidance, histories, torch.cat(asked, dim=1), scope)
        return replace(found, spent=found.spent + scores)

    def _candidates(self) -> tuple[int | None, ...]:
        return self.candidates if isinstance(self.candidates, tuple) else (self.candidates,)
