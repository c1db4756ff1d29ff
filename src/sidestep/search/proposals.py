"""Proposals: what a search looked at and what it went on from, to see where it lost an item."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.padding import NO_ITEM
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.policy import Scope, SearchPolicy
from sidestep.search.scorer import Guidance, PrefixScorer, PrefixScores
from sidestep.search.set_ways import walked_ways
from sidestep.search.tree import LOG_PROB, Candidates, Tree
from sidestep.step import Context, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    """A search's answer, and the prefixes behind it: states of any depth, `NO_STATE` as padding.

    proposed: what it looked at: of a guided beam the K+ most likely of each level, else what went
        through the model; whole semantic IDs too, if they were returned.
    kept: what it went on from, or still might where a tree ended, and the leaves that it returned.
    """

    candidates: Candidates
    proposed: Int[Tensor, "users proposed"]
    kept: Int[Tensor, "users kept"]


def watched(
    policy: SearchPolicy, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
) -> Proposals:
    """Searches as the policy does, and tells what it saw on the way.

    A search that keeps no tree, as the exhaustive one, looked at everything: of a trie at all
    prefixes, of another space at all complete states. It kept the ways to what it returned.
    """
    guidance, num_steps = guidance_of(policy), scope.num_steps
    asked: list[Tensor] = []
    if guidance is None:
        candidates = policy.search(model, histories, scope)
    else:
        recorder = _Recorder(scorer=guidance.scorer, asked=asked)
        recorded: Any = policy
        recorded = replace(recorded, guidance=replace(guidance, scorer=recorder))
        candidates = recorded.search(model, histories, scope)
        if guidance.scorer == Indifferent():
            unscored = replace(candidates.spent, scored=torch.zeros_like(candidates.spent.scored))
            candidates = replace(candidates, score_kind=LOG_PROB, spent=unscored)
    if candidates.tree is None:
        if isinstance(scope, Scope):
            kept = scope.trie.prefixes(candidates.leaves).flatten(1)
            every = torch.arange(1, scope.trie.num_nodes(), device=kept.device)
        else:
            kept = candidates.leaves
            if isinstance(scope, SetSpace):
                kept = _states_on_ways(model, histories, kept, scope)
            items = torch.arange(scope.num_items, device=kept.device)
            every = torch.unique(scope.state_of(items))
        return Proposals(candidates=candidates, proposed=every.expand(len(kept), -1), kept=kept)
    tree = candidates.tree
    seen = tree.states.masked_fill(~tree.is_node, NO_STATE)[:, 1:]
    num_beams = getattr(policy, "num_beams", None)
    if num_beams is None:
        inner = _inner(tree, num_steps)
    else:  # a beam may extend more than it keeps
        inner = _best_of_each_depth(tree, num_steps, num_beams)
    return Proposals(
        candidates=candidates,
        # A level that nothing scores keeps what it proposes.
        proposed=torch.cat([*asked, seen, candidates.leaves], dim=1),
        kept=torch.cat([inner, candidates.leaves], dim=1),
    )


def _states_on_ways(
    model: StepModel[Any],
    histories: HistoryBatch,
    leaves: Int[Tensor, "users leaves"],
    space: SetSpace,
) -> Int[Tensor, "users states"]:
    """The sets on the ways that a policy goes to some leaves; `NO_STATE` is padding."""
    start, context = model.encode(histories, capacity=leaves.shape[1] * (space.num_steps - 1))
    items = space.items(leaves)[..., 0]
    states = walked_ways(model, start, context, items, space).ways.states
    return states.masked_fill((items == NO_ITEM)[..., None], NO_STATE).flatten(1)


def guidance_of(policy: SearchPolicy) -> Guidance | None:
    """The guidance of a search, by its field of this name; None for a search without one."""
    guidance = getattr(policy, "guidance", None)
    return guidance if isinstance(guidance, Guidance) else None


def plain_beam(*, num_beams: int, candidates: int, name: str = "beam") -> GuidedBeamSearch:
    """A beam search that can be watched as a guided one: of its proposals it keeps the likeliest.

    Args:
        num_beams: kept, as of a `BeamSearch`, whose answer it gives.
        candidates: K+, proposals per level: what a guided beam would have chosen from.
        name: see `SearchPolicy.name`.
    """
    guidance = Guidance(scorer=Indifferent(), likelihood_weight=1.0)
    return GuidedBeamSearch(
        guidance=guidance, num_beams=num_beams, candidates=candidates, name=name
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorder:
    """A scorer that remembers what it was asked about."""

    scorer: PrefixScorer
    asked: list[Tensor] = field(default_factory=list)

    @property
    def name(self) -> str:
        """See `PrefixScorer.name`."""
        return self.scorer.name

    def begin(
        self, histories: HistoryBatch, root: StepOutput, context: Context, scope: CodeSpace
    ) -> PrefixScores:
        """See `PrefixScorer.begin`."""
        scores_of = self.scorer.begin(histories, root, context, scope)

        def scores(states: Int[Tensor, "users width"], depth: int) -> Float[Tensor, "users width"]:
            self.asked.append(states)
            return scores_of(states, depth)

        return scores

    def flops(
        self, histories: HistoryBatch, asked: Int[Tensor, "users asked"], scope: CodeSpace
    ) -> Int[Tensor, " users"] | None:
        """See `CountsScores.flops`; remembering takes none."""
        return Guidance(scorer=self.scorer).flops(histories, asked, scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Indifferent:
    """Scores every prefix alike."""

    name: str = "nothing"

    def begin(
        self, histories: HistoryBatch, root: StepOutput, context: Context, scope: CodeSpace
    ) -> PrefixScores:
        """See `PrefixScorer.begin`."""
        return lambda states, depth: torch.zeros_like(states, dtype=torch.float32)

    def flops(
        self, histories: HistoryBatch, asked: Int[Tensor, "users asked"], scope: CodeSpace
    ) -> Int[Tensor, " users"]:
        """See `CountsScores.flops`; nothing is multiplied."""
        return torch.zeros_like(histories.lengths)


def _inner(tree: Tree, num_levels: int) -> Int[Tensor, "users nodes"]:
    """The nodes between root and leaves; `NO_STATE` elsewhere."""
    is_inner = tree.is_node & (tree.depths > 0) & (tree.depths < num_levels)
    return tree.states.masked_fill(~is_inner, NO_STATE)


def _best_of_each_depth(tree: Tree, num_levels: int, number: int) -> Int[Tensor, "users kept"]:
    """The nodes of the largest scores between root and leaves, so many of each depth."""
    kept = []
    for depth in range(1, num_levels):
        is_here = tree.is_node & (tree.depths == depth)
        scores, at = tree.scores.masked_fill(~is_here, -torch.inf).topk(
            min(number, tree.scores.shape[1]), dim=1
        )
        kept.append(tree.states.gather(1, at).masked_fill(scores == -torch.inf, NO_STATE))
    return torch.cat([tree.states[:, :0], *kept], dim=1)
