"""The search tree of a batch of users, and the candidate set that a search makes of it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.trie import Trie

LOG_PROB = "log_prob"
"""What leaves are ranked by where likelihood alone decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Every node that was pushed through the model, one column per slot; slot 0 is the root.

    states: trie nodes; arbitrary where `is_node` is False, like every other array.
    parents: slots; the root is its own.
    depths: codes decided.
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
    def root(num_users: int, device: torch.device) -> "Tree":
        """Trees of a root each, whose prefix is empty and certain."""
        zeros = torch.zeros(num_users, 1, dtype=torch.long, device=device)
        return Tree(
            states=zeros,
            parents=zeros,
            depths=zeros,
            log_probs=torch.zeros(num_users, 1, device=device),
            scores=torch.zeros(num_users, 1, device=device),
            is_node=torch.ones(num_users, 1, dtype=torch.bool, device=device),
        )

    def grown(self, nodes: "Tree") -> "Tree":
        """The tree with more nodes, in the next slots."""

        def joined(ours: Tensor, theirs: Tensor) -> Tensor:
            return torch.cat([ours, theirs], dim=1)

        return Tree(
            states=joined(self.states, nodes.states),
            parents=joined(self.parents, nodes.parents),
            depths=joined(self.depths, nodes.depths),
            log_probs=joined(self.log_probs, nodes.log_probs),
            scores=joined(self.scores, nodes.scores),
            is_node=joined(self.is_node, nodes.is_node),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What a search found for a batch of users: leaves of the trie, best first.

    leaves: `NO_STATE` where a user has fewer.
    log_probs: of the leaves; -inf at `NO_STATE`.
    scores: what they are ranked by; -inf at `NO_STATE`.
    score_kind: what a score is: `LOG_PROB`, or what guided the search.
    tokens: backbone positions spent after the prompt, the root included.
    tree: the nodes behind the leaves; None if the search kept none.
    """

    leaves: Int[Tensor, "users leaves"]
    log_probs: Float[Tensor, "users leaves"]
    scores: Float[Tensor, "users leaves"]
    score_kind: str
    tokens: Int[Tensor, " users"]
    tree: Tree | None = None


def evaluated_prefixes(tree: Tree, trie: Trie) -> Int[Tensor, "users nodes levels"]:
    """The codes of every node below the root; `NO_CODE` past its depth and where there is none."""
    states = tree.states[:, 1:].masked_fill(~tree.is_node[:, 1:], 0)
    return trie.path(states)
