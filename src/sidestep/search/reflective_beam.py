"""Reflective beam search: paths whose intent jumps are taken back, and others are tried instead.

CORP of REG4Rec (arXiv:2508.15308, sec. VI-B). A category head tells at every code what kind of item
the user wants. Where this distribution moves much from one code to the next, the codes of the path
do not agree.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.search.levels import Continuations, Propose, refuse_few_candidates, search_by_levels
from sidestep.search.policy import Normaliser
from sidestep.search.spent import Spent
from sidestep.search.tree import LOG_PROB, Candidates, Tree
from sidestep.step import ROOT_SLOT, Context, HistoryBatch, StepModel, StepOutput, jensen_shannon

_INCONSISTENT = -1e9
"""Far below the log-probability of any path."""


@runtime_checkable
class TellsCategories(Protocol):
    """A head that tells the category of the next item at every state."""

    @property
    def flops_per_state(self) -> int:
        """FLOPs of the matrix product at one state."""
        ...

    def log_probs(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch categories"]:
        """Log-probabilities of the categories."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectiveBeamSearch:
    """Keeps, level by level, the K likeliest of the paths whose intent did not jump.

    The model is shown the K+ likeliest paths of a level. A path is inconsistent if the distribution
    over categories has moved by more than θ since the last check, by Jensen-Shannon divergence in
    nats. The K likeliest consistent paths are kept. Where there are fewer than K, the inconsistent
    paths that moved least fill the places. Leaves are judged by likelihood alone.

    The paper ends an inconsistent path and generates again from an earlier step; it does not say
    from which step, and how often. Here the other K+ - K paths of the level are what is generated
    again, all at once. Costs 1 + Σ_l (paths shown of length l) tokens, l < L.

    category_head: tells the categories.
    num_beams: K, prefixes kept per level and leaves returned, at most.
    candidates: K+, prefixes shown per level, at most.
    threshold: θ, in nats, from 0 to log 2. From log 2 on, nothing is inconsistent.
    every: codes between two checks.
    normaliser: of the code probabilities.
    """

    category_head: TellsCategories
    num_beams: int = 50
    candidates: int = 100
    threshold: float = 0.06
    every: int = 1
    normaliser: Normaliser = "legal"
    name: str = "reg4rec"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        refuse_few_candidates(
            self.num_beams, self.candidates, because="the consistent paths are chosen among them"
        )
        if self.threshold < 0:
            raise ValueError(f"threshold must be 0 or more, got {self.threshold}.")
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}.")

    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of log-probability."""
        reflection = _Reflection(self)

        def begin(root: StepOutput, context: Context) -> Propose:
            reflection.begin(root)
            return partial(Continuations.likeliest, number=self.candidates)

        found = search_by_levels(
            model,
            histories,
            scope,
            num_nodes=self.candidates * (scope.num_steps - 1),
            normaliser=self.normaliser,
            begin=begin,
            score_kind=LOG_PROB,
            judge=reflection.judge,
            judges_leaves=False,
        )
        of_head = found.spent.tokens * self.category_head.flops_per_state
        nothing = torch.zeros_like(of_head)
        spent = found.spent + Spent(tokens=nothing, scored=nothing, flops=of_head)
        return replace(found.by_log_probs().first(self.num_beams), spent=spent)


class _Reflection:
    """One batch's way down: the intent at each slot, and the slot of each slot's last check."""

    def __init__(self, policy: ReflectiveBeamSearch) -> None:
        self.policy = policy
        self.depth = 0

    def begin(self, root: StepOutput) -> None:
        """Reads the intent at the roots, which are checked."""
        self.intents = self.policy.category_head.log_probs(root.hidden)
        self.checked = torch.full_like(root.hidden[..., 0], ROOT_SLOT, dtype=torch.long)

    def judge(self, nodes: Tree, step: StepOutput) -> tuple[Tree, Int[Tensor, "users kept"]]:
        """See `Judge`."""
        self.depth += 1
        own = self.policy.category_head.log_probs(step.hidden)
        since = self.checked.gather(1, nodes.parents)
        scores = nodes.log_probs
        if self.depth % self.policy.every == 0:
            before = self.intents.take_along_dim(since[..., None], dim=1)
            moved = jensen_shannon(before, own).to(scores.dtype)
            # A path that is complete was not shown, and waits.
            jumps = (moved > self.policy.threshold) & nodes.is_node
            scores = scores.where(~jumps | (scores == -torch.inf), _INCONSISTENT * (1 + moved))
            num_slots = self.intents.shape[1]
            slots = torch.arange(num_slots, num_slots + nodes.states.shape[1], device=since.device)
            since = slots.expand(since.shape)
        self.intents = torch.cat([self.intents, own], dim=1)
        self.checked = torch.cat([self.checked, since], dim=1)
        _, columns = scores.topk(min(self.policy.num_beams, scores.shape[1]), dim=1)
        return nodes, columns
