"""Constrained beam search: level by level, the most likely prefixes survive."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from sidestep.catalog.space import CodeSpace
from sidestep.search.levels import Continuations, Propose, search_by_levels
from sidestep.search.policy import Normaliser
from sidestep.search.tree import LOG_PROB, Candidates
from sidestep.step import Context, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamSearch:
    """Beam search over a code space; costs 1 + Σ_{l<L} (prefixes kept of length l) tokens.

    At most `num_beams` are kept, and fewer where the ones above have fewer legal children.

    num_beams: prefixes kept per level, and leaves returned, at most.
    normaliser: of the code probabilities.
    """

    num_beams: int = 50
    normaliser: Normaliser = "legal"
    name: str = "beam"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {self.num_beams}.")

    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of log-probability."""
        return search_by_levels(
            model,
            histories,
            scope,
            num_nodes=self.num_beams * (scope.num_steps - 1),
            normaliser=self.normaliser,
            begin=self._begin,
            score_kind=LOG_PROB,
        )

    def _begin(self, root: StepOutput, context: Context) -> Propose:
        return partial(Continuations.likeliest, number=self.num_beams)
