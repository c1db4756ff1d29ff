"""Recommenders that score every item of the catalog at once: popularity, SASRec, sums of two."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from sidestep.import_paths import own_name
from sidestep.model.item_network import ItemNetwork
from sidestep.model.item_networks import kind_of_item_network
from sidestep.padding import NO_ITEM
from sidestep.recommender import BestItems, Recommendations, unwanted_items
from sidestep.search.spent import Spent, both_flops
from sidestep.step import HistoryBatch, is_named


class ItemScoreRecommender(ABC):
    """Ranks the catalog by one score per item; each item is a leaf of its own.

    is_available: items that may be recommended; None means all.
    """

    is_available: Bool[Tensor, " items"] | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in tables."""

    @property
    @abstractmethod
    def num_items(self) -> int:
        """Items of the catalog."""

    @property
    @abstractmethod
    def score_kind(self) -> str:
        """The unit of a score."""

    @abstractmethod
    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """A score per user and item; higher is better."""

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"] | None:
        """FLOPs of the matrix products behind the scores; None where they are not known."""
        return None

    @property
    def leaf_of(self) -> Int[Tensor, " items"]:
        """Every item is its own leaf."""
        return torch.arange(self.num_items)

    @torch.no_grad()
    def recommend(
        self,
        histories: HistoryBatch,
        k: int,
        *,
        exclude_seen: bool = False,
        excluded: Int[Tensor, "users items"] | None = None,
    ) -> Recommendations:
        """See `Recommender.recommend`; costs no tokens. The list orders ties by item index.

        Args:
            histories: see there.
            k: see there.
            exclude_seen: see there.
            excluded: more items that each user must not get; `NO_ITEM` is padding.

        Raises:
            FloatingPointError: a score is NaN.
        """
        scores = self.scores(histories)
        if self.is_available is not None:
            scores = scores.masked_fill(~self.is_available.to(scores.device), -torch.inf)
        unwanted = unwanted_items(histories, exclude_seen=exclude_seen, excluded=excluded)
        if unwanted is not None:
            is_unwanted = is_named(unwanted.to(scores.device), self.num_items)
            scores = scores.masked_fill(is_unwanted, -torch.inf)
        best = best_items(scores, k)
        if best.scores.isnan().any():  # the largest of all numbers, for a sort
            raise FloatingPointError(
                f"{self.name} gives scores that are no numbers (NaN), so nothing can be ranked; "
                "look for a division by zero or a logarithm of zero in its scores."
            )
        nothing = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        return Recommendations(
            items=best.items,
            scores=best.scores,
            score_kind=self.score_kind,
            spent=Spent(tokens=nothing, scored=nothing, flops=self.flops(histories)),
            leaves=best.items,
            runners_up=best.runners_up,
        )


def best_items(scores: Float[Tensor, "users items"], k: int) -> BestItems:
    """The `k` best items of each user and those tied with the last of them; ties by item index.

    A stable sort of all scores gives the same lists and takes longer.

    Args:
        scores: of every item; -inf where the user must not get it.
        k: the longest list wanted.
    """
    items = _candidates(scores, k).sort(dim=1).values
    # topk leaves open which of two equal scores comes first; here the smaller index does.
    best, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    items = items.gather(1, order).masked_fill(best == -torch.inf, NO_ITEM)
    return BestItems.first(items, best, k)


def _candidates(scores: Float[Tensor, "users items"], k: int) -> Int[Tensor, "users candidates"]:
    """Some items; the `k` best of each user and all that are tied with the last are among them."""
    num_items = scores.shape[1]
    best, items = scores.topk(min(k + 1, num_items), dim=1)
    if k == 0 or k >= num_items:
        return items
    last = best[:, k - 1 : k]
    # Of the items behind the list, the best one is tied with the last if any is. -inf is no item.
    if not ((best[:, k:] == last) & (last != -torch.inf)).any():
        return items
    num_tied = (scores == last).sum(dim=1) - (best[:, :k] == last).sum(dim=1)
    num_tied = num_tied.masked_fill(last[:, 0] == -torch.inf, 0)  # behind the list
    return scores.topk(k + int(num_tied.amax()), dim=1).indices


class PopularityRecommender(ItemScoreRecommender):
    """Popularity: one list for everyone, items by their count in the training part.

    counts: target events per item, or the sum of their weights.
    """

    name = "popularity"
    score_kind = "count"

    def __init__(
        self,
        counts: Real[np.ndarray, " items"],
        *,
        is_available: Bool[Tensor, " items"] | None = None,
    ) -> None:
        self.is_available = is_available
        # In float32, counts above 2^24 would tie with their neighbours.
        self.counts = torch.from_numpy(counts).double()

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return len(self.counts)

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"]:
        """0: nothing is multiplied."""
        return torch.zeros_like(histories.lengths)

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """The counts, for every user."""
        return self.counts.expand(len(histories.lengths), -1)


class ItemNetworkRecommender(ItemScoreRecommender):
    """The scores of a network over item IDs.

    max_history: most recent items that are looked at; None: as many as the network has places.
    """

    score_kind = "logit"

    def __init__(
        self,
        network: ItemNetwork,
        *,
        max_history: int | None = None,
        is_available: Bool[Tensor, " items"] | None = None,
    ) -> None:
        self.is_available = is_available
        self.network = network
        self.max_history = network.config.max_items if max_history is None else max_history

    @property
    def name(self) -> str:
        """The name of the network's kind, or `own-` and the name of the class of a user's own."""
        return kind_of_item_network(self.network) or own_name(type(self.network).__name__)

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return self.network.num_items

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"] | None:
        """FLOPs of the network."""
        return self.network.flops(histories.lengths.clamp(max=self.max_history))

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """The network's scores at the last state."""
        device = next(self.network.parameters()).device
        histories = histories.to(device).latest(self.max_history)
        return self.network.scores(self.network.last_states(histories), histories)


class SummedScores(ItemScoreRecommender):
    """The scores of two recommenders together: first + weight × second.

    Those of two networks are unnormalised log-probabilities, so that this is a product of experts.
    """

    def __init__(
        self,
        first: ItemScoreRecommender,
        second: ItemScoreRecommender,
        *,
        weight: float,
        is_available: Bool[Tensor, " items"] | None = None,
    ) -> None:
        """Puts two recommenders of the same catalog together.

        Raises:
            ValueError: they have other numbers of items, or scores of other kinds.
        """
        if (first.num_items, first.score_kind) != (second.num_items, second.score_kind):
            raise ValueError(
                f"{first.name} gives {first.num_items} items a {first.score_kind} each, but "
                f"{second.name} {second.num_items} a {second.score_kind}: there is no sum of them."
            )
        self.is_available = is_available
        self.first = first
        self.second = second
        self.weight = weight

    @property
    def score_kind(self) -> str:
        """The unit of both scores."""
        return self.first.score_kind

    @property
    def name(self) -> str:
        """The names of both."""
        return f"{self.first.name}+{self.second.name}"

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return self.first.num_items

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"] | None:
        """FLOPs of both recommenders."""
        return both_flops(self.first.flops(histories), self.second.flops(histories))

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """Scores of both recommenders, added."""
        return self.first.scores(histories) + self.weight * self.second.scores(histories)
