"""Catalogs of datasets: their items with semantic IDs, texts and popularity."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from sidestep.data.dataset import Dataset
from sidestep.data.popularity import target_counts
from sidestep.data.splits import Split
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.catalog import catalog as catalogs


def popularity_of(split: Split, num_items: int) -> Int[np.ndarray, " items"]:
    """Target events per item in the training part; without weights, every interaction is one."""
    return target_counts(split.train.histories, num_items)


def flat_catalog(dataset: Dataset, split: Split) -> catalogs.Catalog:
    """A catalog of one level with one code per item, for recommenders that need no codes."""
    num_items = len(dataset.items)
    return make_catalog(dataset, split, np.arange(num_items, dtype=np.int32)[:, None], (num_items,))


def make_catalog(
    dataset: Dataset,
    split: Split,
    semantic_ids: Int[np.ndarray, "items levels"],
    codebook_sizes: tuple[int, ...],
) -> catalogs.Catalog:
    """The catalog of a dataset, with its texts and the popularity in the training part."""
    texts = dataset.items.frame.drop("item_id")
    return catalogs.Catalog.build(
        dataset.items.item_ids,
        semantic_ids,
        codebook_sizes,
        popularity=popularity_of(split, len(dataset.items)),
        texts=texts if texts.width else None,
    )


def refuse_other_items(catalog: catalogs.Catalog, dataset: Dataset) -> None:
    """Raises a `ValueError` unless the catalog has the items of the dataset, in their order."""
    if catalog.item_ids.to_pylist() != list(dataset.items.item_ids):
        raise ValueError(
            f"the catalog's {catalog.num_items} items are not those of the dataset "
            f"{dataset.name}, which has {len(dataset.items)}, in the same order; run 'sidestep "
            "tokenize' on this dataset."
        )
