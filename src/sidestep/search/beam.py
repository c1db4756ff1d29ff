"""Constrained beam search: level by level, the most likely prefixes survive."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sidestep.catalog.trie import NO_STATE
from sidestep.search.policy import Normaliser, Scope, code_log_probs
from sidestep.search.tree import Candidates, Tree
from sidestep.step import ROOT_SLOT, HistoryBatch, StepModel


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamSearch:
    """Beam search over the trie; costs 1 + Σ_{l<L} (prefixes kept of length l) tokens.

    At most `num_beams` are kept, and fewer where the ones above have fewer legal children.

    num_beams: prefixes kept per level, and leaves returned, at most.
    normaliser: of the code probabilities.
    """

    num_beams: int = 50
    normaliser: Normaliser = "legal"
    name: str = "beam"

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {self.num_beams}.")

    @torch.no_grad()
    def search(self, model: StepModel[Any], histories: HistoryBatch, scope: Scope) -> Candidates:
        """See `SearchPolicy.search`; leaves come in order of log-probability."""
        num_users, num_levels = len(histories.lengths), len(model.codebook_sizes)
        step, context = model.encode(histories, capacity=self.num_beams * (num_levels - 1))
        tree = Tree.root(num_users, step.logits.device)
        beams, slots = tree, torch.full_like(tree.states, ROOT_SLOT)
        for depth in range(num_levels):
            legal = scope.legal(beams.states, depth)
            scores = code_log_probs(step, legal, self.normaliser) + beams.log_probs[..., None]
            columns, codes, best = self._best(scores)
            parents = slots.gather(1, columns)
            is_node = best > -torch.inf
            states = scope.trie.child(beams.states.gather(1, columns), codes)
            beams = Tree(
                states=states.masked_fill(~is_node, NO_STATE),
                parents=parents,
                depths=torch.full_like(codes, depth + 1),
                log_probs=best,
                is_node=is_node,
            )
            if depth + 1 == num_levels:
                break
            step, context = model.extend(context, codes, parents, beams.depths, is_node=is_node)
            first_slot = tree.states.shape[1]
            tree = tree.grown(beams)
            slots = torch.arange(first_slot, tree.states.shape[1], device=codes.device)
            slots = slots.expand(num_users, -1)
        return Candidates(
            leaves=beams.states, log_probs=beams.log_probs, tokens=context.tokens, tree=tree
        )

    def _best(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Columns, codes and scores of the best continuations of all beams together."""
        num_codes = scores.shape[2]
        flat = scores.flatten(1)
        best, index = flat.topk(min(self.num_beams, flat.shape[1]), dim=1)
        return index // num_codes, index % num_codes, best
