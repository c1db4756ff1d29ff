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
from sidestep.catalog.latest import LatestAnswers
from sidestep.notices import naming_arguments
from sidestep.runs.searches import AskedSearch
from sidestep.search.beam import BeamSearch

NUM_RUNGS = 3
"""The most ways in which a bundle can answer."""

_FEW_BEAMS = 10

_KEPT_SEARCHES = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """A request, and the search that it names.

    request: without a search.
    search: None takes the search of the bundle.
    """

    request: Request
    search: AskedSearch | None = None


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

    As asked; by a beam of ten, if the bundle's own search is a wider beam; by popularity.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Finds the ways of a snapshot."""
        self.snapshot = snapshot
        recommender = snapshot.recommender
        self._policies = LatestAnswers[Any](_KEPT_SEARCHES)
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

    def answer(self, questions: Sequence[Question], rung: int) -> list[Answer]:
        """The answers to questions, by the way of a rung or, if there are fewer, the last way."""
        way = self._ways[min(rung, len(self._ways) - 1)]
        if way is None:
            ranked = self.snapshot.answer([self._as_asked(question) for question in questions])
        elif way == "popularity":
            asked = [_plain(question.request) for question in questions]
            ranked = [
                replace(answer, snapshot=str(self.snapshot.id))
                for answer in self._popular.answer(asked)
            ]
        else:
            few = BeamSearch(num_beams=max(_FEW_BEAMS, *(each.request.k for each in questions)))
            ranked = self.snapshot.answer(
                [replace(question.request, search=few) for question in questions]
            )
        return [Answer(ranked=each, degraded=way) for each in ranked]

    def _as_asked(self, question: Question) -> Request:
        """The request with its search as this bundle makes it."""
        asked, k = question.search, question.request.k
        if asked is None:
            return question.request
        key = (repr(asked), k)
        made = self._policies.get(key, lambda: self._policy(asked, k))
        return replace(question.request, search=made)

    def _policy(self, asked: AskedSearch, k: int) -> Any:
        recommender = self.snapshot.recommender
        asked = asked.of(recommender)
        asked.refuse_unused(recommender)
        length = min(k, recommender.catalog.num_items)
        return asked.wide_enough(length).policy(recommender, num_leaves=k)


def _plain(request: Request) -> Request:
    """A request without all that popularity does not read."""
    return replace(request, times=None, moment=None, user_info=None, search=None, num_new_places=0)


def _by_popularity(recommender: LoadedRecommender) -> LoadedRecommender:
    """The same catalog, ranked by popularity."""
    catalog = recommender.catalog
    counts = catalog.popularity
    if counts is None:
        counts = np.zeros(catalog.num_items, dtype=np.int64)
    manifest = recommender.manifest.model_copy(update={"kind": "popularity", "parts": {}})
    return replace(
        recommender, manifest=manifest, network=None, parts={}, fitted=None, counts=counts
    )
