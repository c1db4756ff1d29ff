"""Diverse beam search: a prefix pays for every likelier prefix that begins with the same codes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.search.levels import (
    Continuations,
    Prefixes,
    Propose,
    refuse_few_candidates,
    search_by_levels,
)
from sidestep.search.policy import Normaliser
from sidestep.search.tree import Candidates
from sidestep.step import Context, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class DiverseBeamSearch:
    """Beam search that spreads its beams over the first codes; costs the tokens of a plain beam.

        score(prefix) = log π(prefix) - penalty · rank(prefix)

    Prefixes of one level with the same first `shared_codes` codes form a group. The rank counts the
    likelier prefixes of the group, from 0. Levels of at most `shared_codes` codes are those of a
    plain beam. The leaves come in order of their scores, which is the order of a greedy choice:
    each place of the list goes to the leaf of the highest log π, less the penalty for each leaf of
    its group that stands before it.

    Source: Li, Monroe and Jurafsky 2016 (arXiv:1611.08562, eq. 5), who rank the children of one
    prefix; our groups hold all prefixes that begin with the same codes. Vijayakumar et al. 2016
    (arXiv:1610.02424) compare groups of beams instead.

    num_beams: prefixes kept per level, and leaves returned, at most.
    candidates: the likeliest prefixes of each level that are ranked, at most.
    penalty: in nats; 0 is a plain beam.
    shared_codes: first codes that make a group.
    normaliser: of the code probabilities.
    """

    num_beams: int = 50
    candidates: int = 200
    penalty: float = 0.5
    shared_codes: int = 1
    normaliser: Normaliser = "legal"
    name: str = "diverse-beam"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        refuse_few_candidates(
            self.num_beams, self.candidates, because="the beams are chosen among them"
        )
        if not 0 <= self.penalty < float("inf"):
            raise ValueError(
                f"penalty must be 0 or more and finite, got {self.penalty}; 0 is a plain beam."
            )
        if self.shared_codes < 1:
            raise ValueError(f"shared_codes must be at least 1, got {self.shared_codes}.")

    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of their penalised log-probability."""

        def begin(root: StepOutput, context: Context) -> Propose:
            return _Spread(self)

        return search_by_levels(
            model,
            histories,
            scope,
            num_nodes=self.num_beams * (scope.num_steps - 1),
            normaliser=self.normaliser,
            begin=begin,
            score_kind="penalised log_prob",
        )


class _Spread:
    """The choice of one search, level by level; it keeps the group of each beam.

    groups: number of the group of each beam; None where every prefix is a group of its own.
    """

    def __init__(self, policy: DiverseBeamSearch) -> None:
        self.policy = policy
        self.groups: Int[Tensor, "users beams"] | None = None

    def __call__(self, longer: Continuations) -> Prefixes:
        if longer.depth <= self.policy.shared_codes:
            kept = longer.likeliest(self.policy.num_beams)
            if longer.depth == self.policy.shared_codes:
                columns = torch.arange(kept.beams.shape[1], device=kept.beams.device)
                self.groups = columns.expand(kept.beams.shape)
            return kept
        assert self.groups is not None, "levels come in order"
        likely = longer.likeliest(self.policy.candidates)
        groups = self.groups.gather(1, likely.beams)
        ranks = ranks_within(groups)
        kept = likely.best(likely.log_probs - self.policy.penalty * ranks, self.policy.num_beams)
        self.groups = self.groups.gather(1, kept.beams)
        return kept


def ranks_within(groups: Int[Tensor, "users entries"]) -> Int[Tensor, "users entries"]:
    """The number of earlier entries of the same group, for each entry of each user."""
    is_same = groups[:, :, None] == groups[:, None, :]  # [users, entries, entries]
    return is_same.tril(diagonal=-1).sum(dim=2)
