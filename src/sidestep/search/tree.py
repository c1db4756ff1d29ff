"""The search tree of a batch of users, and the candidate set that a search makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.prefix_tree import PrefixTree
from sidestep.catalog.trie import NO_STATE
from sidestep.search.spent import Spent

LOG_PROB = "log_prob"
"""The kind of score of leaves that likelihood alone ranks."""

VALUE = "value"
"""The kind of score of leaves that values alone rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Every node that was pushed through the model, one column per slot; slot 0 is the root.

    states: of the code space; arbitrary where `is_node` is False, like every other array.
    parents: slots; the root is its own.
    depths: codes decided; where a search decides pairs of codes, steps.
    log_probs: of the whole prefix.
    scores: what the search chose it by; `log_probs` where likelihood alone decides.
    is_node: False in columns that a user did not need.
    """

    states: Int[Tensor, "users slots"]
    parents: Int[Tensor, "users slots"]
    depths: Int[Tensor, "users slots"]
    log_probs: Float[Tensor, "users slots"]
    scores: Float[Tensor, "users slots"]
    is_node: Bool[Tensor, "users slots"]

    @staticmethod
    def root(states: Int[Tensor, "users 1"]) -> "Tree":
        """Trees of a root each, whose prefix is empty and certain."""
        zeros = torch.zeros_like(states)
        certain = zeros.float()
        return Tree(
            states=states,
            parents=zeros,
            depths=zeros,
            log_probs=certain,
            scores=certain,
            is_node=torch.ones_like(zeros, dtype=torch.bool),
        )

    @staticmethod
    def joined(levels: Sequence["Tree"]) -> "Tree":
        """The nodes of all levels, in the slots that follow each other."""
        columns = zip(*map(_COLUMNS, levels), strict=True)
        states, parents, depths, log_probs, scores, is_node = map(_joined, columns)
        return Tree(
            states=states,
            parents=parents,
            depths=depths,
            log_probs=log_probs,
            scores=scores,
            is_node=is_node,
        )

    def at(self, columns: Int[Tensor, "users width"]) -> "Tree":
        """Some of the nodes, whose parents stay the slots they were."""
        return Tree(
            states=self.states.gather(1, columns),
            parents=self.parents.gather(1, columns),
            depths=self.depths.gather(1, columns),
            log_probs=self.log_probs.gather(1, columns),
            scores=self.scores.gather(1, columns),
            is_node=self.is_node.gather(1, columns),
        )


_COLUMNS = attrgetter("states", "parents", "depths", "log_probs", "scores", "is_node")
_joined = partial(torch.cat, dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Finds of a search for a batch of users: complete states of a code space, best first.

    leaves: `NO_STATE` where a user has fewer.
    log_probs: of the leaves; -inf at `NO_STATE`.
    scores: what they are ranked by; -inf at `NO_STATE`.
    score_kind: what a score is: `LOG_PROB`, or what guided the search.
    spent: the cost of the search.
    tree: the nodes behind the leaves; None if the search kept none.
    """

    leaves: Int[Tensor, "users leaves"]
    log_probs: Float[Tensor, "users leaves"]
    scores: Float[Tensor, "users leaves"]
    score_kind: str
    spent: Spent
    tree: Tree | None = None

    def first(self, number: int) -> "Candidates":
        """A copy with at most so many of the best leaves."""
        leaves, log_probs = self.leaves[:, :number], self.log_probs[:, :number]
        return replace(self, leaves=leaves, log_probs=log_probs, scores=self.scores[:, :number])

    def by_log_probs(self) -> "Candidates":
        """A copy with the leaves in order of their log-probabilities, which become the scores."""
        log_probs, order = self.log_probs.sort(dim=1, descending=True, stable=True)
        leaves = self.leaves.gather(1, order)
        return replace(self, leaves=leaves, log_probs=log_probs, scores=log_probs)


def evaluated_prefixes(
    tree: Tree, leaves: Int[Tensor, "users leaves"], trie: PrefixTree
) -> Int[Tensor, "users prefixes levels"]:
    """The codes of every node below the root, and of the leaves that were returned.

    `NO_CODE` past the depth of a node and where there is none.
    """
    inner = tree.states[:, 1:].masked_fill(~tree.is_node[:, 1:], 0)
    return trie.path(torch.cat([inner, leaves], dim=1))


def nodes_per_depth(tree: Tree, num_levels: int) -> Int[Tensor, "users depths"]:
    """Number of nodes of each depth from 0 to L that were pushed through the model."""
    depths = tree.depths.clamp(0, num_levels)  # padding may say anything
    counts = torch.zeros(len(depths), num_levels + 1, dtype=torch.long, device=depths.device)
    return counts.scatter_add_(1, depths, tree.is_node.long())


def num_unevaluated(candidates: Candidates) -> Int[Tensor, " users"]:
    """Number of leaves of an answer outside its tree, judged without a token of their own."""
    assert candidates.tree is not None, "the search kept no tree"
    nodes = candidates.tree.states.masked_fill(~candidates.tree.is_node, NO_STATE)
    leaves = candidates.leaves
    is_in_tree = (leaves[..., None] == nodes[:, None]).any(dim=2)
    return ((leaves != NO_STATE) & ~is_in_tree).sum(dim=1)
