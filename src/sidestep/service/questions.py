"""Questions: requests of users before it is known which bundle answers, and in which way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.ranked_items import RankedItems
from sidestep.bundle.requests import Request
from sidestep.bundle.snapshot import Snapshot
from sidestep.catalog.filters import Where, matching
from sidestep.catalog.latest import LatestAnswers
from sidestep.notices import naming_arguments
from sidestep.runs.searches import AskedSearch
from sidestep.search.beam import BeamSearch

_FEW_BEAMS = 10

_KEPT_SEARCHES = 64


BOOSTED = 50
"""Items of a list that boosts reorder, or as many as the list has, if it is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedBoost:
    """A number that is added to the scores of some items; a negative one takes them down.

    item_ids: the items; None where a filter names them.
    where: a filter, see `sidestep.catalog.filters.filter_key`; None where IDs name the items.
    by: the number, in the unit of the scores.
    """

    item_ids: frozenset[str] | None = None
    where: Where | None = None
    by: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """A request, the search that it names, and what is done to its list.

    request: without a search.
    search: None takes the search of the bundle.
    boosts: reorder the first items of the list, see `BOOSTED`; they bring no other item into it.
    """

    request: Request
    search: AskedSearch | None = None
    boosts: tuple[AskedBoost, ...] = ()

    @property
    def k(self) -> int:
        """Items that are asked of the search."""
        return max(self.request.k, BOOSTED) if self.boosts else self.request.k


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a question.

    ranked: the list.
    degraded: the cheaper way that was taken for want of time, such as "beam-10" or "popularity";
        None where the list is as it was asked for.
    """

    ranked: RankedItems
    degraded: str | None


class Answering:
    """A snapshot and its ladder: the ways in which it can answer, best first.

    As asked; by a beam of ten, where the bundle searches by a beam; by popularity. A list that is
    longer than ten, or that boosts reorder, takes a beam of its own length.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Finds the ways of a snapshot."""
        self.snapshot = snapshot
        recommender = snapshot.recommender
        self._policies = LatestAnswers[Any](_KEPT_SEARCHES)
        self._boosted = LatestAnswers[frozenset[str]](_KEPT_SEARCHES)
        ways = ["popularity"]
        if recommender.is_searched and recommender.manifest.search.name != "item-head":
            ways = [f"beam-{_FEW_BEAMS}", *ways]
        self._ways: list[str | None] = [None, *ways]
        if recommender.kind == "popularity":
            self._ways = [None]
        self._popular = _by_popularity(recommender)

    def check(self, question: Question) -> None:
        """Refuses a question that cannot be answered.

        Raises:
            KeyError, TypeError, ValueError: see `LoadedRecommender.check`; or the bundle cannot be
                searched so.
        """
        with naming_arguments():
            self.snapshot.check(self._as_asked(question))
        for boost in question.boosts:
            self._items_of(boost)

    def answer(self, questions: Sequence[Question], rung: int) -> list[Answer]:
        """The answers to questions, by the way of a rung or, if there are fewer, the last way."""
        way = self._ways[min(rung, len(self._ways) - 1)]
        if way is None:
            ranked = self.snapshot.answer([self._as_asked(question) for question in questions])
        elif way == "popularity":
            asked = [_plain(question) for question in questions]
            ranked = [
                replace(answer, snapshot=str(self.snapshot.id))
                for answer in self._popular.answer(asked)
            ]
        else:
            ranked = self.snapshot.answer([_with_few_beams(question) for question in questions])
        # Numbers that are added to scores of a search mean nothing beside counts.
        is_counted = way == "popularity"
        return [
            Answer(
                ranked=_first(each, question.request.k)
                if is_counted
                else self._reordered(each, question),
                degraded=way,
            )
            for each, question in zip(ranked, questions, strict=True)
        ]

    def _reordered(self, ranked: RankedItems, question: Question) -> RankedItems:
        """The list after its boosts; equal scores keep their order."""
        if not question.boosts:
            return ranked
        scores = np.array(ranked.scores)
        for boost in question.boosts:
            items = self._items_of(boost)
            scores += boost.by * np.array([item_id in items for item_id in ranked.item_ids])
        order = np.argsort(-scores, kind="stable")[: question.request.k].tolist()
        return _placed(replace(ranked, scores=scores.tolist()), order)

    def _items_of(self, boost: AskedBoost) -> frozenset[str]:
        """The IDs of the items of a boost.

        Raises:
            KeyError: the catalog has no such column, or no item has the value.
        """
        if boost.where is None:
            return boost.item_ids or frozenset()
        catalog, where = self.snapshot.recommender.catalog, boost.where
        return self._boosted.get(
            where,
            lambda: frozenset(catalog.ids_of(np.flatnonzero(matching(catalog.texts, where)))),
        )

    def _as_asked(self, question: Question) -> Request:
        """The request with its search as this bundle makes it."""
        asked, k = question.search, question.k
        request = question.request if question.request.k == k else replace(question.request, k=k)
        if asked is None:
            return request
        key = (repr(asked), k)
        made = self._policies.get(key, lambda: asked.for_lists(self.snapshot.recommender, k))
        return replace(request, search=made)


def _with_few_beams(question: Question) -> Request:
    """The request with a narrow beam, as wide as its own list at least."""
    few = BeamSearch(num_beams=max(_FEW_BEAMS, question.k))
    return replace(question.request, k=question.k, search=few)


def _first(ranked: RankedItems, k: int) -> RankedItems:
    """The beginning of a list."""
    return _placed(ranked, range(min(k, len(ranked.item_ids))))


def _placed(ranked: RankedItems, order: Sequence[int]) -> RankedItems:
    """Some items of a list, in an order."""
    titles = ranked.titles
    return replace(
        ranked,
        item_ids=[ranked.item_ids[place] for place in order],
        scores=[ranked.scores[place] for place in order],
        is_new=[ranked.is_new[place] for place in order],
        titles=None if titles is None else [titles[place] for place in order],
    )


def _plain(question: Question) -> Request:
    """The request without all that popularity does not read."""
    return replace(
        question.request,
        k=question.k,
        times=None,
        moment=None,
        user_info=None,
        search=None,
        num_new_places=0,
    )


def _by_popularity(recommender: LoadedRecommender) -> LoadedRecommender:
    """A recommender of the catalog by popularity."""
    catalog = recommender.catalog
    counts = catalog.popularity
    if counts is None:
        counts = np.zeros(catalog.num_items, dtype=np.int64)
    manifest = recommender.manifest.model_copy(update={"kind": "popularity", "parts": {}})
    return replace(
        recommender, manifest=manifest, network=None, parts={}, fitted=None, counts=counts
    )
