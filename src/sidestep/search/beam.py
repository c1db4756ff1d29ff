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
    codes_per_step: codes that a step decides, 1 or 2. 2 needs sets of codes, see `CodePairs`. A
        pair costs one token.
    single_steps: with `codes_per_step` 2, the number of first steps that decide one code each. With
        `codes_per_step` 1, the search does not read it.
    """

    num_beams: int = 50
    normaliser: Normaliser = "legal"
    codes_per_step: int = 1
    single_steps: int = 4
    name: str = "beam"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {self.num_beams}.")
        if self.codes_per_step not in (1, 2):
            raise ValueError(f"codes_per_step must be 1 or 2, got {self.codes_per_step}.")
        if self.single_steps < 0:
            raise ValueError(f"single_steps must be at least 0, got {self.single_steps}.")

    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of log-probability.

        Raises:
            ValueError: two codes per step, and the codes are no sets.
        """
        return search_by_levels(
            model,
            histories,
            scope,
            num_nodes=self.num_beams * (scope.num_steps - 1),
            normaliser=self.normaliser,
            begin=self._begin,
            score_kind=LOG_PROB,
            pairs_after=self.single_steps if self.codes_per_step == 2 else None,
        )

    def _begin(self, root: StepOutput, context: Context) -> Propose:
        return partial(Continuations.likeliest, number=self.num_beams)
