"""Re-ranked lists: the best items of another recommender in a new order, without training.

`MarginalRelevance` and `LabelPenalty` list items that differ. `Tilt` lists items that are worth
more.
"""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.padding import NO_ITEM
from sidestep.recommender import ExcludingRecommender, Recommendations
from sidestep.search.diverse_beam import ranks_within
from sidestep.step import HistoryBatch

Order = tuple[Int[Tensor, "users places"], Float[Tensor, "users places"]]
"""The columns of a pool in the order of the new list, and the new scores, in descending order. The
score is -inf where the pool has no item left."""


@runtime_checkable
class Reranking(Protocol):
    """A rule that orders the best items of each user anew."""

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    @property
    def num_items(self) -> int:
        """Items of the catalog that the rule knows."""
        ...

    def flops(self, pool_size: int) -> int:
        """FLOPs of the matrix products behind the order of one pool."""
        ...

    def order(
        self,
        items: Int[Tensor, "users pool"],
        scores: Float[Tensor, "users pool"],
        num_places: int,
    ) -> Order:
        """Orders the pool of each user.

        Args:
            items: best first; `NO_ITEM` is padding.
            scores: of the items, -inf at padding.
            num_places: length of the new list, at most the length of the pool.
        """
        ...


class Reranked:
    """The best items of a recommender, ordered anew; trains nothing."""

    def __init__(
        self, recommender: ExcludingRecommender, rule: Reranking, *, pool_size: int = 50
    ) -> None:
        """Takes a recommender and a rule.

        Args:
            recommender: finds the pool of each user.
            rule: orders the pool.
            pool_size: items of a pool; a longer list takes a pool as long as the list.

        Raises:
            ValueError: an empty pool, or a rule of another catalog.
        """
        if pool_size < 1:
            raise ValueError(f"pool_size must be at least 1, got {pool_size}.")
        if rule.num_items != recommender.num_items:
            raise ValueError(
                f"{rule.name} knows {rule.num_items} items, and {recommender.name} recommends "
                f"{recommender.num_items}; give one entry per item of the catalog."
            )
        self.recommender, self.rule, self.pool_size = recommender, rule, pool_size

    @property
    def name(self) -> str:
        """The name of the recommender and of the rule."""
        return f"{self.recommender.name}, {self.rule.name}"

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return self.recommender.num_items

    @property
    def leaf_of(self) -> Int[Tensor, " items"]:
        """The leaf of each item; a rule may separate the items of a bucket."""
        return self.recommender.leaf_of

    def recommend(
        self,
        histories: HistoryBatch,
        k: int,
        *,
        exclude_seen: bool = False,
        excluded: Int[Tensor, "users items"] | None = None,
    ) -> Recommendations:
        """See `ExcludingRecommender.recommend`; the rule gives the scores.

        Args:
            histories: see there.
            k: see there.
            exclude_seen: see there.
            excluded: see there.
        """
        pool = self.recommender.recommend(
            histories, max(k, self.pool_size), exclude_seen=exclude_seen, excluded=excluded
        )
        columns, scores = self.rule.order(pool.items, pool.scores, k)
        items = pool.items.gather(1, columns).masked_fill(scores == -torch.inf, NO_ITEM)
        flops = pool.spent.flops
        if flops is not None:
            flops = flops + self.rule.flops(pool.items.shape[1])
        return Recommendations(
            items=items,
            scores=scores,
            score_kind=f"{pool.score_kind}, {self.rule.name}",
            spent=replace(pool.spent, flops=flops),
            leaves=items,
            evaluated=pool.evaluated,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarginalRelevance:
    """Maximal marginal relevance: each place goes to the item of the highest

        score_i - weight · max(0, cos(v_i, v_j) of every item j that is listed before)

    Source: Carbonell and Goldstein 1998 (The Use of MMR, Diversity-Based Reranking, SIGIR), up to
    scale: their λ is 1 / (1 + weight). Our choice: an item with a negative cosine loses nothing and
    gains nothing.

    vectors: one per item, of any length but 0.
    weight: the loss of an item whose vector is that of a listed item, in the unit of the scores,
        often nats.
    """

    vectors: Float[Tensor, "items dim"]
    weight: float
    name: str = "mmr"

    def __post_init__(self) -> None:
        _refuse_weight("weight", self.weight)

    @property
    def num_items(self) -> int:
        """Items with a vector."""
        return len(self.vectors)

    def flops(self, pool_size: int) -> int:
        """See `Reranking.flops`: the cosines of all pairs."""
        return 2 * pool_size**2 * self.vectors.shape[1]

    def order(
        self,
        items: Int[Tensor, "users pool"],
        scores: Float[Tensor, "users pool"],
        num_places: int,
    ) -> Order:
        """See `Reranking.order`."""
        vectors = self.vectors.to(items.device)[items.clamp(min=0)].float()
        vectors = functional.normalize(vectors, dim=2)
        similarities = torch.bmm(vectors, vectors.transpose(1, 2))
        users = torch.arange(len(scores), device=scores.device)
        columns, chosen_at = [], []
        left, nearest = scores, torch.zeros_like(scores)
        for _ in range(num_places):
            best, column = (left - self.weight * nearest).max(dim=1)
            columns.append(column)
            chosen_at.append(best)
            left = left.scatter(1, column[:, None], -torch.inf)
            nearest = torch.maximum(nearest, similarities[users, column])
        return torch.stack(columns, dim=1), torch.stack(chosen_at, dim=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelPenalty:
    """An item pays for every better item of its label, such as a category or a first code.

    Each place goes to the item with the highest

        score - penalty · (number of items of this label that are listed before)

    `DiverseBeamSearch` orders its leaves by this rule, with the first codes as labels.

    labels: one number per item; items with a negative label pay nothing.
    penalty: in the unit of the scores.
    """

    labels: Int[Tensor, " items"]
    penalty: float
    name: str = "label penalty"

    def __post_init__(self) -> None:
        _refuse_weight("penalty", self.penalty)

    @property
    def num_items(self) -> int:
        """Items with a label."""
        return len(self.labels)

    def flops(self, pool_size: int) -> int:
        """See `Reranking.flops`: nothing is multiplied."""
        return 0

    def order(
        self,
        items: Int[Tensor, "users pool"],
        scores: Float[Tensor, "users pool"],
        num_places: int,
    ) -> Order:
        """See `Reranking.order`; a pool is best first, so the rank within a label is the count."""
        labels = self.labels.to(items.device)[items.clamp(min=0)]
        ranks = ranks_within(labels).masked_fill(labels < 0, 0)
        return _best_first(scores - self.penalty * ranks, num_places)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tilt:
    """Ranks by score + weight · log(worth): by expected worth where scores are log-probabilities.

    log_worths: one number per item, in nats.
    weight: 1 for expected worth; 0 leaves the order as it is.
    """

    log_worths: Float[Tensor, " items"]
    weight: float = 1.0
    name: str = "tilt"

    @property
    def num_items(self) -> int:
        """Items with a worth."""
        return len(self.log_worths)

    def flops(self, pool_size: int) -> int:
        """See `Reranking.flops`: no matrix is multiplied."""
        return 0

    def order(
        self,
        items: Int[Tensor, "users pool"],
        scores: Float[Tensor, "users pool"],
        num_places: int,
    ) -> Order:
        """See `Reranking.order`."""
        worths = self.log_worths.to(scores)[items.clamp(min=0)]
        return _best_first(scores + self.weight * worths, num_places)


def _best_first(scores: Float[Tensor, "users pool"], num_places: int) -> Order:
    best, columns = scores.sort(dim=1, descending=True, stable=True)
    return columns[:, :num_places], best[:, :num_places]


def _refuse_weight(name: str, weight: float) -> None:
    """Raises a `ValueError` for a weight that is negative, infinite or no number."""
    if not 0 <= weight < float("inf"):
        raise ValueError(f"{name} must be 0 or more and finite, got {weight}; 0 re-ranks nothing.")
