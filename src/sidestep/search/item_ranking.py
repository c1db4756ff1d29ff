"""Item ranking: every leaf by the item head, which asks the network for nothing but the root.

This is the ranking that a baseline over item IDs gives, by a network of semantic IDs.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace, ListsCandidates
from sidestep.catalog.trie import NO_STATE
from sidestep.search.item_support import HasItemHead, ItemRanker, ItemSupport
from sidestep.search.policy import trie_scope
from sidestep.search.scorer import Guidance
from sidestep.search.spent import Spent
from sidestep.search.tree import Candidates
from sidestep.step import HistoryBatch, StepModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRanking:
    """Ranks all leaves by the log of the probability that an item head gives to their items.

    The probabilities are a softmax over the items in scope. With a tied item head, the logit of an
    item is one dot product of the state of the history and the vector of the item. The scores of a
    ranker beside the network are added. Costs one token, the root. The log-probabilities of the
    answer are those of head and ranker, not of the codes.

    head, ranker, ranker_weight: score the items, see `ItemSupport`.
    num_leaves: leaves returned, at most.
    """

    head: HasItemHead | None = None
    ranker: ItemRanker | None = None
    ranker_weight: float = 1.0
    num_leaves: int = 50
    name: str = "item-head"
    reads_values: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.num_leaves < 1:
            raise ValueError(f"num_leaves must be at least 1, got {self.num_leaves}.")
        self._support()  # refuses what scores no items

    @torch.no_grad()
    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`; no leaf in scope is missed."""
        states = _complete_states(scope, asker=self.name)
        step, root = model.encode(histories, capacity=0)
        guidance = Guidance(scorer=self._support())
        scores_of = guidance.begin(histories, step, root, scope)
        leaves = states.expand(len(step.logits), -1)
        scores = scores_of(leaves, scope.num_steps)
        best, index = scores.topk(min(self.num_leaves, scores.shape[1]), dim=1)
        return Candidates(
            leaves=leaves.gather(1, index).masked_fill(best == -torch.inf, NO_STATE),
            log_probs=best,
            scores=best,
            score_kind=guidance.score_kind,
            spent=Spent.on_nodes(model, histories, torch.ones_like(leaves[:, :1]))
            + Spent.on_scores(guidance, histories, leaves, scope),
        )

    def _support(self) -> ItemSupport:
        return ItemSupport(head=self.head, ranker=self.ranker, ranker_weight=self.ranker_weight)


def _complete_states(space: CodeSpace, *, asker: str) -> Int[Tensor, " leaves"]:
    """All complete states of a space, ascending, in scope or not."""
    if isinstance(space, ListsCandidates):
        states = space.state_of(torch.arange(space.num_items, device=space.device))
        distinct: Tensor = torch.unique(states)
        return distinct
    trie = trie_scope(space, asker=asker).trie
    return torch.arange(trie.first_leaf, trie.num_nodes(), device=trie.device)
