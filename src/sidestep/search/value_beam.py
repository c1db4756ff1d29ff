"""Value-guided beam search: likelihood proposes prefixes, all are extended, values decide.

A guided beam asks a scorer before it extends; this one reads the value of what was extended, and
pays for it: a value is read from the backbone's own state of a prefix.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.trie import NO_STATE
from sidestep.search.levels import Continuations
from sidestep.search.policy import Normaliser, Scope, code_log_probs, node_values
from sidestep.search.tree import VALUE, Candidates, Tree
from sidestep.step import ROOT_SLOT, HistoryBatch, StepModel, StepOutput


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
        if self.num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {self.num_beams}.")
        if self.candidates < self.num_beams:
            raise ValueError(
                f"candidates must be at least num_beams, got {self.candidates} for "
                f"{self.num_beams}; values choose among them."
            )
        if self.likelihood_weight < 0:
            raise ValueError(f"likelihood_weight must be 0 or more, got {self.likelihood_weight}.")

    @torch.no_grad()
    def search(self, model: StepModel[Any], histories: HistoryBatch, scope: Scope) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of V + λ log π.

        Raises:
            ValueError: the model has no values.
        """
        num_users, num_levels = len(histories.lengths), scope.trie.num_levels
        num_nodes = min(self.candidates * num_levels, scope.trie.num_nodes())
        step, context = model.encode(histories, capacity=num_nodes)
        tree = Tree.root(num_users, step.logits.device)
        beams, slots = tree, torch.full_like(tree.states, ROOT_SLOT)
        for depth in range(1, num_levels + 1):
            legal = scope.legal(beams.states, depth - 1)
            log_probs = code_log_probs(step, legal, self.normaliser) + beams.log_probs[..., None]
            longer = Continuations(states=beams.states, log_probs=log_probs, depth=depth)
            likely = longer.likeliest(self.candidates)
            is_node = likely.log_probs > -torch.inf
            parents = slots.gather(1, likely.beams)
            states = scope.trie.child(beams.states.gather(1, likely.beams), likely.codes)
            depths = torch.full_like(parents, depth)
            step, context = model.extend(context, likely.codes, parents, depths, is_node=is_node)
            extended = Tree(
                states=states.masked_fill(~is_node, NO_STATE),
                parents=parents,
                depths=depths,
                log_probs=likely.log_probs,
                scores=self.ranked_by(node_values(step), likely.log_probs),
                is_node=is_node,
            )
            first_slot = tree.states.shape[1]
            tree = tree.grown(extended)
            _, kept = extended.scores.topk(min(self.num_beams, parents.shape[1]), dim=1)
            beams, slots = extended.at(kept), first_slot + kept
            step = _at(step, kept)
        return Candidates(
            leaves=beams.states,
            log_probs=beams.log_probs,
            scores=beams.scores,
            score_kind=VALUE if not self.likelihood_weight else f"{VALUE} + log_prob",
            tokens=context.tokens,
            scored=torch.zeros_like(context.tokens),
            flops=context.flops,
            tree=tree,
        )

    def ranked_by(
        self, values: Float[Tensor, "users width"], log_probs: Float[Tensor, "users width"]
    ) -> Float[Tensor, "users width"]:
        """V + λ log π; -inf where `log_probs` is."""
        is_prefix = log_probs > -torch.inf
        mixed = values.float() + self.likelihood_weight * log_probs.masked_fill(~is_prefix, 0.0)
        return mixed.masked_fill(~is_prefix, -torch.inf)


def _at(step: StepOutput, columns: Int[Tensor, "users kept"]) -> StepOutput:
    """What the model says of some of its nodes."""
    return StepOutput(
        logits=step.logits.take_along_dim(columns[..., None], dim=1),
        hidden=step.hidden.take_along_dim(columns[..., None], dim=1),
    )
