"""Recommenders: what turns histories into ranked items, whatever stands behind it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from sidestep.step import HistoryBatch

NO_CODE = -1
"""Padding where a code could stand: a prefix is shorter than a semantic ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendations:
    """The best items of some users, best first.

    items: item indices; `NO_ITEM` where a list is shorter. Items of one bucket stand together,
        ordered by popularity in training: the search cannot tell them apart.
    scores: the unit is `score_kind`; items of one bucket share it; -inf at `NO_ITEM`.
    score_kind: what a score is, for example "log_prob".
    tokens: backbone positions spent after the prompt, per user.
    leaves: the best leaves, best first, each named by any one item of its bucket; `NO_ITEM` where
        there are fewer. They may be more than the items stem from. A recommender that ranks items
        and no leaves repeats `items`.
    evaluated: every prefix that a tree search showed to its backbone, as codes, `NO_CODE` from
        its depth on; None where no tree was searched.
    """

    items: Int[Tensor, "users k"]
    scores: Float[Tensor, "users k"]
    score_kind: str
    tokens: Int[Tensor, " users"]
    leaves: Int[Tensor, "users leaves"]
    evaluated: Int[Tensor, "users nodes levels"] | None = None


@runtime_checkable
class Recommender(Protocol):
    """What evaluation needs of a recommender."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def num_items(self) -> int:
        """Items it can recommend: their indices run from 0."""
        ...

    @property
    def leaf_of(self) -> Int[Tensor, " items"]:
        """The leaf of each item: items that share one share a bucket, and no score parts them.

        A recommender that scores every item on its own gives each item its own leaf.
        """
        ...

    def recommend(
        self, histories: HistoryBatch, k: int, *, exclude_seen: bool = False
    ) -> Recommendations:
        """Ranks items for each user.

        Args:
            histories: the users' past items.
            k: the longest list wanted.
            exclude_seen: leaves out the items of the user's history, before the list is cut to k.
        """
        ...
