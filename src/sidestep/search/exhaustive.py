"""The exhaustive scorer: every leaf of the catalog, exactly; what no search can beat."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.search.policy import Normaliser, Scope, code_log_probs
from sidestep.search.tree import Candidates
from sidestep.step import ROOT_SLOT, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class ExhaustiveSearch:
    """Ranks the whole catalog by log-probability, a chunk of the trie at a time.

    num_leaves: leaves returned.
    normaliser: of the code probabilities.
    chunk_size: prefixes of the last depth but one that are pushed through the model together;
        memory grows with users × chunk_size × codes.
    """

    num_leaves: int = 50
    normaliser: Normaliser = "legal"
    chunk_size: int = 256
    name: str = "exhaustive"

    def __post_init__(self) -> None:
        if self.num_leaves < 1 or self.chunk_size < 1:
            raise ValueError(
                f"num_leaves and chunk_size must be at least 1, got {self.num_leaves} and "
                f"{self.chunk_size}."
            )

    @torch.no_grad()
    def search(self, model: StepModel[Any], histories: HistoryBatch, scope: Scope) -> Candidates:
        """See `SearchPolicy.search`; no leaf in scope is missed."""
        scores, tokens = self.leaf_log_probs(model, histories, scope)
        best, index = scores.topk(min(self.num_leaves, scores.shape[1]), dim=1)
        leaves = (index + scope.trie.first_leaf).masked_fill(best == -torch.inf, NO_STATE)
        return Candidates(leaves=leaves, log_probs=best, tokens=tokens)

    @torch.no_grad()
    def leaf_log_probs(
        self, model: StepModel[Any], histories: HistoryBatch, scope: Scope
    ) -> tuple[Float[Tensor, "users leaves"], Int[Tensor, " users"]]:
        """Log-probability of every leaf in the order of the trie, and the tokens it took.

        Leaves out of scope get -inf.
        """
        trie = scope.trie
        chunks = list(_chunks(trie, self.chunk_size))
        widest = max((sum(len(level) for level in chunk) for chunk in chunks), default=0)
        step, root = model.encode(histories, capacity=widest)
        num_users, device = len(histories.lengths), step.logits.device
        zeros = torch.zeros(num_users, 1, dtype=torch.long, device=device)
        root_scores = code_log_probs(step, scope.legal(zeros, 0), self.normaliser)
        scores = torch.full((num_users, trie.num_leaves), -torch.inf, device=device)
        tokens = root.tokens
        if not chunks:  # one level: the root's children are the leaves
            leaves = torch.arange(trie.first_leaf, trie.num_nodes(), device=device)
            return root_scores[:, 0, trie.codes_of(leaves)], tokens
        for chunk in chunks:
            nodes = torch.cat(chunk)
            depths = trie.depth(nodes)
            # Slot of a node's parent: the levels of a chunk follow each other in the call.
            slots = torch.searchsorted(nodes, trie.parent(nodes)) + 1
            slots = slots.masked_fill(depths == 1, ROOT_SLOT)
            rows = (num_users, len(nodes))
            step, context = model.extend(
                root,
                trie.codes_of(nodes).expand(rows),
                slots.expand(rows),
                depths.expand(rows),
                is_node=torch.ones(rows, dtype=torch.bool, device=device),
            )
            tokens = tokens + context.tokens - root.tokens
            edges = self._edge_log_probs(step, nodes, depths, scope)
            by_slot = torch.cat([root_scores, edges], dim=1)  # [users, 1 + nodes, codes]
            totals = torch.zeros(num_users, 1 + len(nodes), device=device)
            for depth in range(1, trie.num_levels):
                at = (depths == depth).nonzero()[:, 0]
                own = by_slot[:, slots[at], trie.codes_of(nodes[at])]
                totals[:, at + 1] = totals[:, slots[at]] + own
            first, last = trie.leaf_range(chunk[-1])
            leaves = torch.arange(int(first[0]), int(last[-1]), device=device)
            above = torch.searchsorted(nodes, trie.parent(leaves)) + 1
            own = by_slot[:, above, trie.codes_of(leaves)]
            scores[:, leaves - trie.first_leaf] = totals[:, above] + own
        return scores, tokens

    def _edge_log_probs(
        self, step: StepOutput, nodes: Tensor, depths: Tensor, scope: Scope
    ) -> Tensor:
        """Log-probabilities of the codes below each node of a chunk."""
        states = nodes.expand(step.logits.shape[0], -1)
        legal = torch.cat(
            [
                scope.legal(states[:, depths == depth], depth)
                for depth in range(1, scope.trie.num_levels)
            ],
            dim=1,
        )
        return code_log_probs(step, legal, self.normaliser)


def _chunks(trie: Trie, chunk_size: int) -> Iterator[list[Int[Tensor, " nodes"]]]:
    """Runs of prefixes of the last depth but one, each with its ancestors: states by depth."""
    deepest = trie.nodes_at(trie.num_levels - 1)
    if trie.num_levels == 1:
        return
    for start in range(deepest.start, deepest.stop, chunk_size):
        nodes = torch.arange(start, min(start + chunk_size, deepest.stop), device=trie.device)
        yield [
            torch.unique_consecutive(trie.ancestor(nodes, depth))
            for depth in range(1, trie.num_levels)
        ]
