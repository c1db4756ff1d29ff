"""Search by levels: what a beam and its relatives share. They differ in what they keep."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.trie import NO_STATE
from sidestep.search.policy import Normaliser, Scope, code_log_probs
from sidestep.search.tree import Candidates, Tree
from sidestep.step import ROOT_SLOT, Context, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """All prefixes one code longer than the beams.

    states: of the beams; `NO_STATE` where there is none.
    log_probs: of the longer prefixes; -inf where no item in scope has one.
    depth: codes of the longer prefixes.
    """

    states: Int[Tensor, "users beams"]
    log_probs: Float[Tensor, "users beams codes"]
    depth: int

    def likeliest(self, number: int) -> "Prefixes":
        """The `number` most likely, best first; ranked by that alone."""
        num_codes = self.log_probs.shape[2]
        flat = self.log_probs.flatten(1)
        best, index = flat.topk(min(number, flat.shape[1]), dim=1)
        return Prefixes(
            beams=index // num_codes, codes=index % num_codes, log_probs=best, scores=best
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefixes:
    """Some of the continuations, best first.

    beams: the column of the beam that each continues.
    codes: the code it adds.
    log_probs: of the prefix; -inf where a user has fewer.
    scores: what they are ranked by; -inf where a user has fewer.
    """

    beams: Int[Tensor, "users kept"]
    codes: Int[Tensor, "users kept"]
    log_probs: Float[Tensor, "users kept"]
    scores: Float[Tensor, "users kept"]

    def best(self, scores: Float[Tensor, "users kept"], number: int) -> "Prefixes":
        """The `number` best by other scores."""
        best, index = scores.topk(min(number, scores.shape[1]), dim=1)
        return Prefixes(
            beams=self.beams.gather(1, index),
            codes=self.codes.gather(1, index),
            log_probs=self.log_probs.gather(1, index),
            scores=best,
        )


Keep = Callable[[Continuations], Prefixes]
"""Chooses what is kept of one depth. Whatever needs the histories was bound to it before."""


@torch.no_grad()
def search_by_levels(
    model: StepModel[Any],
    histories: HistoryBatch,
    scope: Scope,
    *,
    num_beams: int,
    normaliser: Normaliser,
    begin: Callable[[StepOutput, Context], Keep],
    score_kind: str,
) -> Candidates:
    """Descends level by level; costs 1 + Σ_{l<L} (prefixes kept of length l) tokens.

    Args:
        model: is shown what is kept.
        histories: of the users.
        scope: the items that may be returned.
        num_beams: prefixes kept per level, at most.
        normaliser: of the code probabilities.
        begin: binds the choice to the histories: the output at the root and the context.
        score_kind: what the choice ranks by.
    """
    num_users, num_levels = len(histories.lengths), len(model.codebook_sizes)
    num_nodes = min(num_beams * (num_levels - 1), scope.trie.num_nodes())
    step, context = model.encode(histories, capacity=num_nodes)
    keep = begin(step, context)
    tree = Tree.root(num_users, step.logits.device)
    beams, slots = tree, torch.full_like(tree.states, ROOT_SLOT)
    for depth in range(1, num_levels + 1):
        legal = scope.legal(beams.states, depth - 1)
        log_probs = code_log_probs(step, legal, normaliser) + beams.log_probs[..., None]
        kept = keep(Continuations(states=beams.states, log_probs=log_probs, depth=depth))
        is_node = kept.log_probs > -torch.inf
        states = scope.trie.child(beams.states.gather(1, kept.beams), kept.codes)
        beams = Tree(
            states=states.masked_fill(~is_node, NO_STATE),
            parents=slots.gather(1, kept.beams),
            depths=torch.full_like(kept.codes, depth),
            log_probs=kept.log_probs,
            scores=kept.scores,
            is_node=is_node,
        )
        if depth == num_levels:
            break
        step, context = model.extend(
            context, kept.codes, beams.parents, beams.depths, is_node=is_node
        )
        first_slot = tree.states.shape[1]
        tree = tree.grown(beams)
        slots = torch.arange(first_slot, tree.states.shape[1], device=states.device)
        slots = slots.expand(num_users, -1)
    return Candidates(
        leaves=beams.states,
        log_probs=beams.log_probs,
        scores=beams.scores,
        score_kind=score_kind,
        tokens=context.tokens,
        scored=torch.zeros_like(context.tokens),
        flops=context.flops,
        tree=tree,
    )
