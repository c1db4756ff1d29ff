"""Calls of an engine other than for lists: JSON in, a message out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
import polars as pl
from pydantic import BaseModel

from sidestep.padding import NO_ITEM
from sidestep.runs.searches import can_search
from sidestep.search.specs import SPECS
from sidestep.service.asking import RefusalError
from sidestep.service.config import Limits
from sidestep.service.conversion import catalog_items, is_too_wide, questions_of
from sidestep.service.explaining import explain
from sidestep.service.limits import refuse_large
from sidestep.service.messages import (
    Availability,
    CatalogItem,
    Example,
    Examples,
    ExplainRequest,
    ExplainResponse,
    ItemOfId,
    ItemsOfWords,
    ItemsResponse,
    Ready,
    Reload,
    Searches,
    ServiceState,
    TitledItem,
)
from sidestep.service.refusals import checked
from sidestep.service.served_bundle import ServedBundle
from sidestep.service.state import State

Call = Callable[[bytes], BaseModel]


class Calls:
    """The calls of an engine by name."""

    def __init__(
        self, bundle: ServedBundle, limits: Limits, examples: Sequence[Sequence[str]] = ()
    ) -> None:
        """Makes the calls.

        Args:
            bundle: answers.
            limits: of one request.
            examples: histories to try, as item IDs.
        """
        self._histories = examples
        self._bundle = bundle
        self._limits = limits
        self._explaining = Lock()
        self.by_name: dict[str, Call] = {
            "ready": lambda content: self._ready(),
            "searches": lambda content: self._searches(),
            "examples": lambda content: self._examples(),
            "explain": lambda content: self._explain(ExplainRequest.model_validate_json(content)),
            "item": lambda content: self._item(ItemOfId.model_validate_json(content)),
            "items": lambda content: self._items(ItemsOfWords.model_validate_json(content)),
            "availability": lambda content: self._availability(
                Availability.model_validate_json(content)
            ),
            "reload": lambda content: self._reload(Reload.model_validate_json(content)),
            "rollback": lambda content: _told(checked(bundle.roll_back)),
        }

    def _ready(self) -> Ready:
        return Ready(status="ready", snapshot=str(self._bundle.answering.snapshot.id))

    def _searches(self) -> Searches:
        recommender = self._bundle.answering.snapshot.recommender
        num_items = recommender.catalog.num_items
        able = [
            name
            for name, spec in SPECS.items()
            if can_search(name, recommender)
            and spec.goes_by != "scorer"  # which only code of one's own can name
            and not is_too_wide(name, num_items, self._limits)
        ]
        is_tree = recommender.is_searched and recommender.catalog.space is None
        return Searches(
            own=recommender.manifest.search.name if recommender.is_searched else None,
            lists=able,
            trees=[name for name in able if is_tree and SPECS[name].grows is not None],
        )

    def _explain(self, asked: ExplainRequest) -> ExplainResponse:
        request = asked.as_recommendation
        refuse_large(request, self._limits)
        [question] = questions_of(request, self._bundle, self._limits)
        if not self._explaining.acquire(blocking=False):
            raise RefusalError(429, "another search is being explained.", retry_after_s=1)
        try:
            return checked(explain, self._bundle.answering, question)
        finally:
            self._explaining.release()

    def _examples(self) -> Examples:
        catalog = self._bundle.answering.snapshot.recommender.catalog
        found = []
        for history in self._histories:
            indices = catalog.indices_of(history)
            known = indices[indices != NO_ITEM]
            ids = catalog.ids_of(known)
            titles = ids if catalog.texts is None else catalog.titles_of(known)
            items = [
                TitledItem(item_id=item_id, title=title)
                for item_id, title in zip(ids, titles, strict=True)
            ]
            if items:
                found.append(Example(items=items))
        return Examples(examples=found)

    def _item(self, asked: ItemOfId) -> CatalogItem:
        catalog = self._bundle.answering.snapshot.recommender.catalog
        index = catalog.ids.index_of(asked.item_id)
        if index == NO_ITEM:
            raise RefusalError(404, f"the catalog has no item {asked.item_id!r:.80}.")
        [found] = catalog_items(catalog, np.array([index]))
        return found

    def _items(self, asked: ItemsOfWords) -> ItemsResponse:
        catalog = self._bundle.answering.snapshot.recommender.catalog
        words = asked.query.lower().split()
        if not words:
            raise RefusalError(422, "query: write a word of a title, or an ID.")
        if catalog.texts is None:
            title = pl.Series(catalog.item_ids.to_pylist(), dtype=pl.String)
        else:
            title = catalog.titles.cast(pl.String)
        title = title.str.to_lowercase()
        is_found = title.is_not_null()
        for word in words:
            is_found &= title.str.contains(word, literal=True).fill_null(False)
        own = catalog.indices_of([asked.query.strip()])
        named = own[own != NO_ITEM]
        titled = is_found.arg_true().to_numpy().astype(np.int64)
        found = np.concatenate([named, titled[~np.isin(titled, named)]])[: asked.limit]
        return ItemsResponse(items=catalog_items(catalog, found))

    def _availability(self, asked: Availability) -> ServiceState:
        change = self._bundle.make_unavailable
        return _told(checked(change, asked.unavailable, asked.available))

    def _reload(self, asked: Reload) -> ServiceState:
        return _told(checked(self._bundle.reload, asked.bundle))


def _told(state: State) -> ServiceState:
    return ServiceState(
        bundle=state.bundle.name,
        generation=state.generation,
        num_unavailable=len(state.unavailable),
    )
