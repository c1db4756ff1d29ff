"""Grounding: a search writes one item, and the items whose vectors are nearest to it follow.

The ranking behind the first item goes by how alike items are, and not by likelihood.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.item_ranking import ItemRanking
from sidestep.search.tree import Candidates
from sidestep.step import HistoryBatch, StepModel

DISTANCE = "distance"
"""What a score of this search is: a negative distance."""


@runtime_checkable
class HasVectors(Protocol):
    """A network that knows items by vectors; the search knows nothing else of the network."""

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """One vector per item of the catalog, in its order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundedSearch:
    """Ranks all leaves by the distance of their items to the item that a beam writes first.

        score(i) = -|e(i) - e(i*)|, i* the best item of the beam

    The score of i* is 0, the largest. A leaf has the score of the nearest of its items. A user
    whose beam finds nothing gets nothing. No likelihood of the leaves behind the first is known,
    so `log_probs` of the answer are the scores.

    Source: the grounding of BIGRec (arXiv:2308.08434). Departures: the beam cannot leave the
    catalog, so i* is an item, where BIGRec may write any text; and e are the vectors of the
    network's items, where BIGRec takes states of the language model after the text.

    vectors: gives e.
    num_beams: of the beam that writes.
    num_leaves: leaves returned, at most.
    """

    vectors: HasVectors
    num_beams: int = 50
    num_leaves: int = 50
    name: str = "grounded"
    reads_values: ClassVar[bool] = False

    @torch.no_grad()
    def search(
        self, model: StepModel[Any], histories: HistoryBatch, scope: CodeSpace
    ) -> Candidates:
        """See `SearchPolicy.search`."""
        written = BeamSearch(num_beams=self.num_beams).search(model, histories, scope)
        first = scope.items(written.leaves[:, :1])[:, 0, 0]
        vectors = self.vectors.catalog_vectors().float()
        nearness = _nearness(vectors, first)
        # All leaves in scope, in any order.
        everything = ItemRanking(ranker=_Alike(len(vectors)), num_leaves=len(vectors))
        ranked = everything.search(model, histories, scope)
        items = scope.items(ranked.leaves)
        users = torch.arange(len(first), device=items.device)[:, None, None]
        near = nearness[users, items.clamp(min=0)].masked_fill(items == NO_ITEM, -torch.inf)
        scores, order = near.amax(dim=2).sort(dim=1, descending=True, stable=True)
        number = min(self.num_leaves, scores.shape[1])
        leaves = ranked.leaves.gather(1, order)[:, :number]
        scores = scores[:, :number].masked_fill(leaves == NO_STATE, -torch.inf)
        return Candidates(
            leaves=leaves,
            log_probs=scores,
            scores=scores,
            score_kind=DISTANCE,
            spent=written.spent + ranked.spent,
        )


def _nearness(
    vectors: Float[Tensor, "items dim"], first: Int[Tensor, " users"]
) -> Float[Tensor, "users items"]:
    """The negative distances of all items to one item per user; all 0 where there is none."""
    # The form by matrix products is faster, and gives 0 for items that are near and not equal.
    near = -torch.cdist(
        vectors[first.clamp(min=0)], vectors, compute_mode="donot_use_mm_for_euclid_dist"
    )
    return near.masked_fill((first == NO_ITEM)[:, None], 0.0)


@dataclass(frozen=True, slots=True)
class _Alike:
    """Scores every item alike: whoever ranks by it learns which leaves are in scope."""

    num_items: int

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """Zeros."""
        return torch.zeros(len(histories.lengths), self.num_items, device=histories.items.device)

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"]:
        """Nothing is computed."""
        return torch.zeros_like(histories.lengths)
