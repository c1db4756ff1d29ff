"""The exhaustive scorer: every leaf of the catalog, exactly; what no search can beat."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.search.policy import Normaliser, Scope, code_log_probs, trie_scope
from sidestep.search.scorer import Guidance
from sidestep.search.spent import Spent
from sidestep.search.tree import LOG_PROB, Candidates
from sidestep.step import ROOT_SLOT, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class ExhaustiveSearch:
    """Ranks the whole catalog, a chunk of the trie at a time.

    num_leaves: leaves returned.
    guidance: what ranks the leaves; None: log-probability. The ceiling of a search so guided.
    normaliser: of the code probabilities.
    chunk_size: prefixes of the last depth but one that are pushed through the model together;
        memory grows with users × chunk_size × codes.
    """

    num_leaves: int = 50
    guidance: Guidance | None = None
    normaliser: Normaliser = "legal"
    chunk_size: int = 256
    name: str = "exhaustive"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_leaves < 1 or self.chunk_size < 1:
            raise ValueError(
                f"num_leaves and chunk_size must be at least 1, got {self.num_leaves} and "
                f"{self.chunk_size}."
            )

    @torch.no_grad()
    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; no leaf in scope is missed.

        Raises:
            TypeError: the space is no scope of a trie, whose leaves are known before the walk.
        """
        tree = trie_scope(scope, asker=self.name)
        trie = tree.trie
        chunks = list(_chunks(trie, self.chunk_size))
        widest = max((sum(len(level) for level in chunk) for chunk in chunks), default=0)
        step, root = model.encode(histories, capacity=widest)
        scores_of = None
        if self.guidance is not None:
            scores_of = self.guidance.begin(histories, step, root, scope)
        log_probs = self._leaf_log_probs(model, step, root, chunks, tree)
        scores, score_kind = log_probs, LOG_PROB
        spent = Spent.on_nodes(model, histories, _nodes_shown(chunks, trie, len(log_probs)))
        if self.guidance is not None and scores_of is not None:
            leaves = torch.arange(trie.first_leaf, trie.num_nodes(), device=log_probs.device)
            leaves = leaves.expand(log_probs.shape)
            own = scores_of(leaves, trie.num_levels)
            scores = self.guidance.ranked_by(own, log_probs, trie.num_levels)
            score_kind = self.guidance.score_kind
            spent = spent + Spent.on_scores(self.guidance, histories, leaves, scope)
        best, index = scores.topk(min(self.num_leaves, scores.shape[1]), dim=1)
        return Candidates(
            leaves=(index + trie.first_leaf).masked_fill(best == -torch.inf, NO_STATE),
            log_probs=log_probs.gather(1, index),
            scores=best,
            score_kind=score_kind,
            spent=spent,
        )

    def _leaf_log_probs(
        self,
        model: StepModel[Any],
        step: StepOutput,
        root: Any,
        chunks: Sequence[list[Int[Tensor, " _"]]],
        scope: Scope,
    ) -> Float[Tensor, "users leaves"]:
        """Log-probability of every leaf in the order of the trie; -inf out of scope.

        Args:
            model: the policy.
            step: its output at the root.
            root: the encoded histories.
            chunks: of the trie, see `_chunks`.
            scope: the items that may be returned.
        """
        trie = scope.trie
        num_users, device = len(step.logits), step.logits.device
        root_scores = code_log_probs(step, scope.legal(scope.root(num_users), 0), self.normaliser)
        scores = torch.full((num_users, trie.num_leaves), -torch.inf, device=device)
        if not chunks:  # one level: the root's children are the leaves
            leaves = torch.arange(trie.first_leaf, trie.num_nodes(), device=device)
            return root_scores[:, 0, trie.codes_of(leaves)]
        for chunk in chunks:
            nodes = torch.cat(chunk)
            depths = trie.depth(nodes)
            # Slot of a node's parent: the levels of a chunk follow each other in the call.
            slots = torch.searchsorted(nodes, trie.parent(nodes)) + 1
            slots = slots.masked_fill(depths == 1, ROOT_SLOT)
            rows = (num_users, len(nodes))
            step, _ = model.extend(
                root,
                trie.codes_of(nodes).expand(rows),
                slots.expand(rows),
                depths.expand(rows),
                is_node=torch.ones(rows, dtype=torch.bool, device=device),
            )
            legal = scope.legal(nodes.expand(rows))
            edges = code_log_probs(step, legal, self.normaliser)
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
        return scores


def _nodes_shown(
    chunks: Sequence[list[Int[Tensor, " _"]]], trie: Trie, num_users: int
) -> Int[Tensor, "users depths"]:
    """Number of nodes by depth; a node above two chunks is shown twice, and no leaf is shown."""
    inner = [sum(len(chunk[depth]) for chunk in chunks) for depth in range(trie.num_levels - 1)]
    return torch.tensor([1, *inner, 0], device=trie.device).expand(num_users, -1)


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
