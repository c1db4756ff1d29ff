"""Recommenders: what turns histories into ranked items, whatever stands behind it."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.user_sets import is_among
from sidestep.padding import NO_ITEM
from sidestep.precision import Precision
from sidestep.search.policy import Scope, SearchPolicy
from sidestep.search.spent import Spent
from sidestep.search.tree import evaluated_prefixes
from sidestep.step import HistoryBatch, StepModel, in_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendations:
    """The best items of some users, best first.

    items: item indices; `NO_ITEM` where a list is shorter.
    scores: the unit is `score_kind`; -inf at `NO_ITEM`. Items of equal scores follow each other and
        are tied: their order says nothing, and evaluation takes the mean over all their orders.
        Items of one bucket are always tied, since no search can tell them apart. The list orders
        them by popularity in training.
    score_kind: what a score is, for example "log_prob".
    spent: the cost of the answer.
    leaves: the best leaves, best first, each named by any one item of its bucket; `NO_ITEM` where
        there are fewer. They may be more than the items stem from. A recommender that ranks items
        and no leaves repeats `items`.
    runners_up: items that are tied with the last item of a full list, and for which the list has no
        place; `NO_ITEM` is padding. None where there are no such items.
    evaluated: every prefix that a tree search weighed, as codes, the trie's `NO_CODE` past its end:
        those it showed to its backbone, and the leaves it returned; None without a tree.
    """

    items: Int[Tensor, "users k"]
    scores: Float[Tensor, "users k"]
    score_kind: str
    spent: Spent
    leaves: Int[Tensor, "users leaves"]
    runners_up: Int[Tensor, "users tied"] | None = None
    evaluated: Int[Tensor, "users nodes levels"] | None = None

    @property
    def all_items(self) -> Int[Tensor, "users entries"]:
        """The list, and the runners-up behind it."""
        if self.runners_up is None:
            return self.items
        return torch.cat([self.items, self.runners_up], dim=1)

    @property
    def all_scores(self) -> Float[Tensor, "users entries"]:
        """The scores of `all_items`: runners-up have the score of the last item of the list."""
        if self.runners_up is None:
            return self.scores
        last = self.scores[:, -1:].expand(self.runners_up.shape)
        tied = last.masked_fill(self.runners_up == NO_ITEM, -torch.inf)
        return torch.cat([self.scores, tied], dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BestItems:
    """Ranked items, cut to lists of k; see `Recommendations` for what the fields are."""

    items: Int[Tensor, "users k"]
    scores: Float[Tensor, "users k"]
    runners_up: Int[Tensor, "users tied"]

    @classmethod
    def first(
        cls, items: Int[Tensor, "users n"], scores: Float[Tensor, "users n"], k: int
    ) -> "BestItems":
        """The first `k` items of each user.

        Args:
            items: best first; `NO_ITEM` from the end of a list on.
            scores: of the items; equal scores follow each other.
            k: the longest list wanted.
        """
        behind = items[:, k:]
        num_tied = 0
        if k and behind.numel():
            is_tied = (scores[:, k:] == scores[:, k - 1 : k]) & (behind != NO_ITEM)
            num_tied = int(is_tied.sum(dim=1).amax())
            behind = behind.masked_fill(~is_tied, NO_ITEM)
        missing = (0, max(0, k - items.shape[1]))
        return cls(
            items=torch.nn.functional.pad(items[:, :k], missing, value=NO_ITEM),
            scores=torch.nn.functional.pad(scores[:, :k], missing, value=-torch.inf),
            runners_up=behind[:, :num_tied],
        )

    @classmethod
    def first_wanted(
        cls,
        items: Int[Tensor, "users n"],
        scores: Float[Tensor, "users n"],
        is_wanted: Bool[Tensor, "users n"],
        k: int,
    ) -> "BestItems":
        """The first `k` wanted items of each user, in their order; see `first`."""
        order = (~is_wanted).long().argsort(dim=1, stable=True)
        return cls.first(
            items.masked_fill(~is_wanted, NO_ITEM).gather(1, order),
            scores.masked_fill(~is_wanted, -torch.inf).gather(1, order),
            k,
        )


@runtime_checkable
class Recommender(Protocol):
    """A recommender as evaluation needs it.

    A recommender is given whole histories. If its network reads only the latest items, the
    recommender cuts the histories itself: nobody else may, or what is cut cannot be excluded.
    """

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    @property
    def num_items(self) -> int:
        """Items it can recommend: their indices run from 0."""
        ...

    def recommend(
        self, histories: HistoryBatch, k: int, *, exclude_seen: bool = False
    ) -> Recommendations:
        """Ranks items for each user.

        Args:
            histories: all past items of the users.
            k: the longest list wanted.
            exclude_seen: leaves out every item of the user's history, however long ago it was
                taken, before the list is cut to k.
        """
        ...


@runtime_checkable
class ExcludingRecommender(Recommender, Protocol):
    """A recommender that can also leave out what a user has not seen."""

    @property
    def leaf_of(self) -> Int[Tensor, " items"]:
        """The leaf of each item: items that share one share a bucket.

        A recommender that scores every item on its own gives each item its own leaf.
        """
        ...

    def recommend(
        self,
        histories: HistoryBatch,
        k: int,
        *,
        exclude_seen: bool = False,
        excluded: Int[Tensor, "users items"] | None = None,
    ) -> Recommendations:
        """See `Recommender.recommend`.

        Args:
            histories: see there.
            k: see there.
            exclude_seen: see there.
            excluded: more items that each user must not get; `NO_ITEM` is padding.
        """
        ...


class GenerativeRecommender:
    """A model of semantic IDs, a code space, and a search: the next item, code by code.

    The model lies on the device of the space, in `eval` mode; histories are brought there.
    """

    def __init__(
        self,
        model: StepModel[Any],
        space: CodeSpace,
        policy: SearchPolicy,
        *,
        max_history: int | None,
        precision: Precision = "fp32",
    ) -> None:
        """Puts the parts together.

        Args:
            model: writes codes of the space's codebooks.
            space: the items that may be recommended: the `Scope` of a trie, or another space.
            policy: the search.
            max_history: the model reads only so many most recent items; None: all of them.
            precision: of the layers of the model.

        Raises:
            ValueError: the model has other codebooks or other actions than the space.
        """
        if model.codebook_sizes != space.codebook_sizes:
            raise ValueError(
                f"the model writes codes of codebooks {model.codebook_sizes}, but the catalog's "
                f"have {space.codebook_sizes}; use the catalog that the model was trained on."
            )
        if model.num_actions != space.num_actions:
            raise ValueError(
                f"the model chooses among {model.num_actions} actions, but the space "
                f"{type(space).__name__} has {space.num_actions}; train a network whose logits "
                "are the actions of this space."
            )
        self.model = model
        self.space = space
        self.policy = policy
        self.max_history = max_history
        self.precision = precision

    @property
    def name(self) -> str:
        """The search's name."""
        return self.policy.name

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return self.space.num_items

    @property
    def leaf_of(self) -> Int[Tensor, " items"]:
        """The complete state of each item."""
        return self.space.state_of(torch.arange(self.num_items, device=self.space.device))

    def recommend(
        self,
        histories: HistoryBatch,
        k: int,
        *,
        exclude_seen: bool = False,
        excluded: Int[Tensor, "users items"] | None = None,
    ) -> Recommendations:
        """See `Recommender.recommend`; what is left out never takes a place in the search.

        A list is shorter than `k` when the search finds fewer items; widen it to get more.

        Args:
            histories: see there.
            k: see there.
            exclude_seen: see there.
            excluded: more items that each user must not get; `NO_ITEM` is padding.
        """
        histories = histories.to(self.space.device)
        unwanted = unwanted_items(histories, exclude_seen=exclude_seen, excluded=excluded)
        space = self.space if unwanted is None else self.space.without(unwanted)
        read = histories if self.max_history is None else histories.latest(self.max_history)
        with in_precision(space.device, self.precision):
            candidates = self.policy.search(self.model, read, space)
        buckets = space.items(candidates.leaves)  # [users, leaves, bucket]
        items = buckets.flatten(1)
        first = (buckets != NO_ITEM).byte().argmax(dim=2, keepdim=True)
        scores = candidates.scores.repeat_interleave(buckets.shape[2], dim=1)
        best = BestItems.first_wanted(items, scores, items != NO_ITEM, k)
        evaluated = None
        if candidates.tree is not None and isinstance(space, Scope):
            evaluated = evaluated_prefixes(candidates.tree, candidates.leaves, space.trie)
        return Recommendations(
            items=best.items,
            scores=best.scores,
            score_kind=candidates.score_kind,
            spent=candidates.spent,
            leaves=buckets.gather(2, first)[..., 0],
            runners_up=best.runners_up,
            evaluated=evaluated,
        )


class ReservedPlaces:
    """Lists of which some places go to items that are ranked among themselves, see `with_reserved`.

    For items that the model ranks well and that would get no place all the same: those that were
    appended after the training lose to every item whose codes the model has seen follow.
    """

    def __init__(
        self, ordinary: ExcludingRecommender, reserved: ExcludingRecommender, *, num_places: int
    ) -> None:
        """Puts the parts together.

        Args:
            ordinary: fills the other places.
            reserved: of the same catalog; recommends nothing but the items that places are for.
            num_places: how many of them.

        Raises:
            ValueError: a negative number of places.
        """
        if num_places < 0:
            raise ValueError(f"num_places must not be negative, got {num_places}.")
        self.ordinary = ordinary
        self.reserved = reserved
        self.num_places = num_places

    @property
    def name(self) -> str:
        """The name of what fills the other places, and how many are reserved."""
        return f"{self.ordinary.name}, {self.num_places} reserved"

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return self.ordinary.num_items

    @property
    def leaf_of(self) -> Int[Tensor, " items"]:
        """The leaf of each item. A bucket may stand apart: its reserved items, and the others."""
        return self.ordinary.leaf_of

    def recommend(
        self,
        histories: HistoryBatch,
        k: int,
        *,
        exclude_seen: bool = False,
        excluded: Int[Tensor, "users items"] | None = None,
    ) -> Recommendations:
        """See `ExcludingRecommender.recommend`; costs the tokens of both parts.

        Raises:
            ValueError: the list has fewer places than are reserved.
        """
        ordinary, reserved = (
            part.recommend(histories, k, exclude_seen=exclude_seen, excluded=excluded)
            for part in (self.ordinary, self.reserved)
        )
        return with_reserved(ordinary, reserved, num_places=self.num_places, leaf_of=self.leaf_of)


def with_reserved(
    ordinary: Recommendations,
    reserved: Recommendations,
    *,
    num_places: int,
    leaf_of: Int[Tensor, " items"],
) -> Recommendations:
    """Gives the last places of each list to other items.

    The first `k - num_places` items are those of `ordinary`. The best of `reserved` that are not
    among them follow, at most `num_places`, and where they are fewer, `ordinary` goes on. No item
    stands twice, and no list is shorter than before. Ties that lie across the first reserved place
    are parted there, in the order of `ordinary`.

    Args:
        ordinary: lists of k.
        reserved: of the same users, at least k items where there are as many: some may be among
            those of `ordinary`.
        num_places: how many places are reserved.
        leaf_of: of every item.

    Returns:
        Lists of k. An item keeps the score of the list that it was taken from, so scores need not
        fall where `reserved` begins, nor be comparable: probabilities of either part sum to one.
        `leaves` are those of the items.

    Raises:
        ValueError: more places are reserved than the lists have.
    """
    k = ordinary.items.shape[1]
    if num_places > k:
        raise ValueError(f"{num_places} places are reserved in a list of {k}; reserve at most {k}.")
    first = k - num_places
    head, rest = ordinary.items[:, :first], ordinary.all_items[:, first:]
    is_new = (reserved.all_items != NO_ITEM) & ~is_among(reserved.all_items, head)
    new = BestItems.first_wanted(reserved.all_items, reserved.all_scores, is_new, num_places)
    # A list that the reserved places fill ends with them, so that only new items are runners-up.
    is_full = (head != NO_ITEM).all(dim=1) & (new.items != NO_ITEM).all(dim=1) & (num_places > 0)
    tied = new.runners_up.masked_fill(~is_full[:, None], NO_ITEM)
    rest = rest.masked_fill(is_full[:, None] | is_among(rest, new.items), NO_ITEM)
    items = torch.cat([head, new.items, tied, rest], dim=1)
    scores = torch.cat(
        [
            ordinary.scores[:, :first],
            new.scores,
            new.scores[:, -1:].expand(tied.shape),
            ordinary.all_scores[:, first:],
        ],
        dim=1,
    )
    best = BestItems.first_wanted(items, scores, items != NO_ITEM, k)
    evaluated = None
    if ordinary.evaluated is not None and reserved.evaluated is not None:
        evaluated = torch.cat([ordinary.evaluated, reserved.evaluated], dim=1)
    return Recommendations(
        items=best.items,
        scores=best.scores,
        score_kind=ordinary.score_kind,
        spent=ordinary.spent + reserved.spent,
        leaves=_one_per_leaf(best.items, leaf_of),
        runners_up=best.runners_up,
        evaluated=evaluated,
    )


def _one_per_leaf(
    items: Int[Tensor, "users k"], leaf_of: Int[Tensor, " items"]
) -> Int[Tensor, "users k"]:
    """The first item of every leaf, in their order, padded with `NO_ITEM`."""
    leaves = leaf_of.to(items.device)[items.clamp(min=0)]
    is_same = leaves[:, :, None] == leaves[:, None, :]
    is_first = ~is_same.tril(diagonal=-1).any(dim=2)
    is_wanted = is_first & (items != NO_ITEM)
    order = (~is_wanted).long().argsort(dim=1, stable=True)
    return items.masked_fill(~is_wanted, NO_ITEM).gather(1, order)


def unwanted_items(
    histories: HistoryBatch, *, exclude_seen: bool, excluded: Int[Tensor, "users items"] | None
) -> Int[Tensor, "users unwanted"] | None:
    """Items that each user must not get, padded with `NO_ITEM`; None if there are none."""
    parts = [histories.items] if exclude_seen else []
    if excluded is not None:
        parts.append(excluded.to(histories.items.device))
    return torch.cat(parts, dim=1) if parts else None
