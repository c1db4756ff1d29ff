"""Messages become questions, and answers become JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from sidestep.bundle import requests
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.filters import filter_key
from sidestep.runs.searches import AskedSearch
from sidestep.service.asking import RefusalError
from sidestep.service.config import Limits
from sidestep.service.messages import (
    Boost,
    CatalogItem,
    RecommendRequest,
    Search,
)
from sidestep.service.questions import Answer, AskedBoost, Question
from sidestep.service.refusals import checked
from sidestep.service.served_bundle import ServedBundle


def checked_questions(
    body: RecommendRequest, bundle: ServedBundle, limits: Limits
) -> list[Question]:
    """One question per user, each of which the bundle can answer; see `questions_of`."""
    found, answering = questions_of(body, bundle, limits), bundle.recent
    for question in found:
        checked(answering.check, question)
    return found


def questions_of(body: RecommendRequest, bundle: ServedBundle, limits: Limits) -> list[Question]:
    """One question per user; lists that are the same for all users stay one object.

    The request is within the limits, see `sidestep.service.limits`.
    """
    num_items = bundle.recent.snapshot.recommender.catalog.num_items
    if body.search is not None and is_too_wide(body.search.name, num_items, limits):
        raise RefusalError(
            422,
            f"search: {body.search.name} asks for all {num_items:,} items, and this service takes "
            f"exhaustive searches of {limits.exhaustive_items:,}.",
        )
    search = None if body.search is None else checked(_search, body.search)
    boosts = tuple(checked(_boost, boost) for boost in body.boosts)
    if boosts and body.new_places:
        raise RefusalError(422, "boosts would take new items from their places; leave one out.")
    return [
        Question(
            request=requests.Request(
                history=user.history,
                times=user.times,
                moment=user.moment,
                user_info=user.info,
                k=body.k,
                exclude_seen=body.exclude_seen,
                excluded=user.exclude,
                available=body.only,
                where=body.where,
                num_new_places=body.new_places,
            ),
            search=search,
            boosts=boosts,
        )
        for user in body.users
    ]


def _boost(boost: Boost) -> AskedBoost:
    return AskedBoost(
        item_ids=None if boost.items is None else frozenset(boost.items),
        where=None if boost.where is None else filter_key(boost.where),
        by=boost.by,
    )


def is_too_wide(name: str, num_items: int, limits: Limits) -> bool:
    """Whether a search looks at all prefixes of a catalog that is too large for that."""
    return name.startswith("exhaustive") and num_items > limits.exhaustive_items


def _search(search: Search) -> AskedSearch:
    return AskedSearch(
        name=search.name,
        beams=search.beams,
        candidates=search.candidates,
        likelihood_weight=search.likelihood_weight,
        budget=search.budget,
        options={} if search.seed is None else {"seed": search.seed},
    )


def answer_json(answer: Answer) -> bytes:
    """An answer as the JSON of a `UserAnswer`.

    A model would check every item again, which takes longer than all else that is done to an
    answer.
    """
    return orjson.dumps(_fields(answer))


def _fields(answer: Answer) -> dict[str, Any]:
    """The fields of a `UserAnswer`."""
    ranked = answer.ranked
    titles: Sequence[str | None] = ranked.titles or [None] * len(ranked.item_ids)
    return {
        "items": [
            {"item_id": item_id, "title": title, "score": score, "is_new": is_new}
            for item_id, title, score, is_new in zip(
                ranked.item_ids, titles, ranked.scores, ranked.is_new, strict=True
            )
        ],
        "score_kind": ranked.score_kind,
        "tokens": ranked.tokens,
        "unknown": ranked.num_unknown,
        "degraded": answer.degraded,
        "snapshot": ranked.snapshot,
    }


def catalog_items(catalog: Catalog, indices: np.ndarray) -> list[CatalogItem]:
    """Items of a catalog by index, as messages."""
    texts: list[dict[str, Any]] = [{}] * len(indices)
    titles: list[str | None] = [None] * len(indices)
    if catalog.texts is not None:
        texts, titles = catalog.texts_of(indices).to_dicts(), [*catalog.titles_of(indices)]
    is_retired = catalog.is_retired
    return [
        CatalogItem(
            item_id=item_id,
            title=title,
            texts={name: None if text is None else str(text) for name, text in row.items()},
            semantic_id=catalog.semantic_ids[index].tolist(),
            is_available=is_retired is None or not is_retired[index],
        )
        for index, item_id, title, row in zip(
            indices, catalog.ids_of(indices), titles, texts, strict=True
        )
    ]
