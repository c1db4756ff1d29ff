"""Similar items: those whose vectors in a network are nearest to an item's."""

from typing import Any

import polars as pl
import torch
from torch.nn import functional

from sidestep.bundle.networks import Network
from sidestep.bundle.ranked_items import item_frame
from sidestep.bundle.requests import check_ids, check_length
from sidestep.catalog.catalog import Catalog
from sidestep.model.heads import HasItemVectors
from sidestep.padding import NO_ITEM


def similar_items(
    network: Network | None, catalog: Catalog, item_id: Any, k: Any, *, kind: str
) -> pl.DataFrame:
    """The `k` items of the largest cosine with an item; see `LoadedRecommender.similar`.

    Args:
        network: whose vectors are compared; None where there is none.
        catalog: items with a tombstone are left out.
        item_id: an item of the catalog.
        k: the longest list wanted.
        kind: of the bundle, for messages.

    Raises:
        KeyError: the catalog has no such item.
        TypeError: the ID is no text, or `k` no whole number.
        ValueError: `k` is less than 1, or the network has no vectors of items.
    """
    check_ids([item_id])
    check_length(k)
    [index] = catalog.indices_of([item_id])
    if index == NO_ITEM:
        raise KeyError(f"item_id: the catalog has no item {item_id!r:.60}.")
    if not isinstance(network, HasItemVectors):
        raise ValueError(
            f"{kind} has no vectors of items to compare; take a recommender of kind transformer or "
            "sasrec."
        )
    with torch.no_grad():
        vectors = functional.normalize(network.catalog_vectors(), dim=1)
        scores = vectors @ vectors[index]
    scores[index] = -torch.inf
    if catalog.is_retired is not None:
        scores[torch.from_numpy(catalog.is_retired).to(scores.device)] = -torch.inf
    best = scores.topk(min(k, len(scores)))
    is_item = best.values.isfinite()
    indices = best.indices[is_item].cpu().numpy()
    found = best.values[is_item].tolist()
    titles = None if catalog.texts is None else catalog.titles_of(indices)
    return item_frame(catalog.ids_of(indices), found, titles)
