"""Grounding: a search writes one item, and the items whose vectors are nearest to it follow.

The ranking behind the first item goes by how alike items are, and not by likelihood.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.item_ranking import ItemRanking
from sidestep.search.tree import Candidates
from sidestep.step import HistoryBatch, StepModel


@runtime_checkable
class HasVectors(Protocol):
    """A network that knows items by vectors."""

    def catalog_vectors(self) -> Float[Tensor, "items dim"]:
        """One vector per item of the catalog, in its order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundedSearch:
    """Ranks all leaves by the distance of their items to the item that a beam writes first.

        score(i) = -|e(i) - e(i*)|, i* the best item of the beam

    The score of i* is 0, the largest. A user whose beam finds nothing gets nothing.

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
        items = scope.items(written.leaves[:, :1])[:, 0, 0]
        nearness = _Nearness(self.vectors.catalog_vectors().float(), items)
        ranked = ItemRanking(ranker=nearness, num_leaves=self.num_leaves).search(
            model, histories, scope
        )
        distances = nearness.scores(histories)
        of_leaves = scope.items(ranked.leaves)[:, :, 0].clamp(min=0)
        scores = distances.gather(1, of_leaves).masked_fill(ranked.scores.isneginf(), -torch.inf)
        return replace(ranked, scores=scores, log_probs=scores, spent=written.spent + ranked.spent)


@dataclass(frozen=True, slots=True)
class _Nearness:
    """Scores every item by its distance to one item per user; all alike where there is none."""

    vectors: Float[Tensor, "items dim"]
    items: Int[Tensor, " users"]

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """The negative distances."""
        del histories
        near = -torch.cdist(self.vectors[self.items.clamp(min=0)], self.vectors)
        return near.masked_fill((self.items == NO_ITEM)[:, None], 0.0)

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"]:
        """FLOPs of the products behind the distances."""
        return torch.full_like(histories.lengths, 2 * self.vectors.numel())
