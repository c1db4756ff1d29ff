"""The exhaustive scorer: every leaf of the catalog, exactly; what no search can beat.

Two spaces tell their leaves before the walk: a trie, and sets of codes whose policy chooses the
next codebook, so that one way leads to each set.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.padding import NO_ITEM
from sidestep.search.policy import Normaliser, Scope, code_log_probs, trie_scope
from sidestep.search.scorer import Guidance
from sidestep.search.set_ways import walked_ways
from sidestep.search.spent import Spent
from sidestep.search.tree import LOG_PROB, Candidates
from sidestep.step import ROOT_SLOT, HistoryBatch, StepModel, StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class ExhaustiveSearch:
    """Ranks the whole catalog, a chunk at a time.

    num_leaves: leaves returned.
    guidance: what ranks the leaves; None: log-probability. The ceiling of a search so guided.
    normaliser: of the code probabilities.
    chunk_size: prefixes of the last depth but one that are pushed through the model together, or
        sets; memory grows with users × chunk_size × codes.
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
            TypeError: the space is neither the scope of a trie nor that of code sets, so its leaves
                are not known before the walk.
            ValueError: the codes are sets, and the model chooses no codebook.
        """
        known: _TrieLeaves | _SetLeaves
        if isinstance(scope, SetSpace):
            known = _SetLeaves.of(scope, self.chunk_size)
        else:
            known = _TrieLeaves.of(trie_scope(scope, asker=self.name), self.chunk_size)
        step, root = model.encode(histories, capacity=known.capacity)
        scores_of = None
        if self.guidance is not None:
            scores_of = self.guidance.begin(histories, step, root, scope)
        log_probs, nodes = known.log_probs(model, step, root, self.normaliser)
        scores, score_kind = log_probs, LOG_PROB
        spent = Spent.on_nodes(model, histories, nodes)
        if self.guidance is not None and scores_of is not None:
            leaves = known.leaves.expand(log_probs.shape)
            own = scores_of(leaves, scope.num_steps)
            scores = self.guidance.ranked_by(own, log_probs, scope.num_steps)
            score_kind = self.guidance.score_kind
            spent = spent + Spent.on_scores(self.guidance, histories, leaves, scope)
        best, index = scores.topk(min(self.num_leaves, scores.shape[1]), dim=1)
        return Candidates(
            leaves=known.leaves[index].masked_fill(best == -torch.inf, NO_STATE),
            log_probs=log_probs.gather(1, index),
            scores=best,
            score_kind=score_kind,
            spent=spent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrieLeaves:
    """The leaves of a trie, by chunks of the prefixes above them; see `_chunks`."""

    scope: Scope
    chunks: Sequence[list[Int[Tensor, " _"]]]

    @staticmethod
    def of(scope: Scope, chunk_size: int) -> "_TrieLeaves":
        return _TrieLeaves(scope=scope, chunks=list(_chunks(scope.trie, chunk_size)))

    @property
    def capacity(self) -> int:
        """Nodes of the largest chunk."""
        return max((sum(len(level) for level in chunk) for chunk in self.chunks), default=0)

    @property
    def leaves(self) -> Int[Tensor, " leaves"]:
        """All leaves, in the order of the trie."""
        trie = self.scope.trie
        return torch.arange(trie.first_leaf, trie.num_nodes(), device=trie.device)

    def log_probs(
        self, model: StepModel[Any], step: StepOutput, root: Any, normaliser: Normaliser
    ) -> tuple[Float[Tensor, "users leaves"], Int[Tensor, "users depths"]]:
        """Log-probability of every leaf, -inf out of scope, and the number of nodes by depth.

        Args:
            model: the policy.
            step: its output at the root.
            root: the encoded histories.
            normaliser: of the code probabilities.
        """
        scope, trie = self.scope, self.scope.trie
        num_users, device = len(step.logits), step.logits.device
        root_scores = code_log_probs(step, scope.legal(scope.root(num_users), 0), normaliser)
        nodes_shown = _nodes_shown(self.chunks, trie, num_users)
        if not self.chunks:  # one level: the root's children are the leaves
            return root_scores[:, 0, trie.codes_of(self.leaves)], nodes_shown
        scores = torch.full((num_users, trie.num_leaves), -torch.inf, device=device)
        for chunk in self.chunks:
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
            edges = code_log_probs(step, legal, normaliser)
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
        return scores, nodes_shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _SetLeaves:
    """The leaves of a space of code sets, by chunks of the sets themselves.

    space: of the items that may be returned; a way ends as soon as one item is left.
    leaves: all complete sets, ascending.
    items: the first item of each leaf.
    leaf_of: the leaf of each item, as a place in `leaves`.
    """

    space: SetSpace
    chunk_size: int
    leaves: Int[Tensor, " leaves"]
    items: Int[Tensor, " leaves"]
    leaf_of: Int[Tensor, " items"]

    @staticmethod
    def of(space: SetSpace, chunk_size: int) -> "_SetLeaves":
        items = torch.arange(space.num_items, device=space.device)
        leaves, leaf_of = torch.unique(space.state_of(items), return_inverse=True)
        firsts = torch.full_like(leaves, space.num_items)
        return _SetLeaves(
            space=space.shortened(),
            chunk_size=chunk_size,
            leaves=leaves,
            items=firsts.scatter_reduce_(0, leaf_of, items, "amin"),
            leaf_of=leaf_of,
        )

    @property
    def capacity(self) -> int:
        """Nodes of the largest chunk."""
        return min(self.chunk_size, len(self.leaves)) * (self.space.num_steps - 1)

    def log_probs(
        self, model: StepModel[Any], step: StepOutput, root: Any, normaliser: Normaliser
    ) -> tuple[Float[Tensor, "users leaves"], Int[Tensor, "users depths"]]:
        """See `_TrieLeaves.log_probs`.

        Raises:
            ValueError: the model chooses no codebook, so that many ways lead to each set.
        """
        if step.choice is None:
            raise ValueError(
                "exhaustive over sets needs a network that chooses the next codebook, so that one "
                "way leads to each set; take a network of kind code-sets."
            )
        order, number = self._order(step)
        users = len(order)
        nodes = torch.zeros(users, self.space.num_steps + 1, dtype=torch.long, device=order.device)
        nodes[:, 0] = 1
        scores = torch.full((users, len(self.leaves)), -torch.inf, device=order.device)
        columns = torch.arange(len(self.leaves), device=order.device)
        for start in range(0, int(number.max()), self.chunk_size):
            chunk = order[:, start : start + self.chunk_size]
            is_wanted = columns[start : start + self.chunk_size] < number[:, None]
            items = self.items[chunk].masked_fill(~is_wanted, NO_ITEM)
            walked = walked_ways(model, step, root, items, self.space, normaliser=normaliser)
            found = walked.log_probs[..., -1].masked_fill(~is_wanted, -torch.inf)
            scores.scatter_(1, chunk, found)
            nodes += walked.num_nodes
        return scores, nodes

    def _order(self, step: StepOutput) -> tuple[Int[Tensor, "users leaves"], Int[Tensor, " users"]]:
        """The leaves of each user, those of one first code together; and how many are in scope.

        Leaves of one first code share a state, which costs one token per chunk. Leaves out of scope
        are the last ones.
        """
        space, users = self.space, len(step.logits)
        is_in = torch.zeros(users, len(self.leaves), dtype=torch.uint8, device=space.device)
        is_in.scatter_reduce_(
            1, self.leaf_of.expand(users, -1), space.in_scope(users).byte(), "amax"
        )
        followed = step.followed(space.legal(space.root(users)))[:, 0]
        codebooks = space.codebook_of[followed.byte().argmax(dim=1)]
        first = space.actions_of(self.items).T[codebooks].masked_fill(is_in == 0, space.num_actions)
        return first.argsort(dim=1, stable=True), is_in.sum(dim=1)


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
