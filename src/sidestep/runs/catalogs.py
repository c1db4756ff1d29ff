"""Catalogs of datasets: their items with semantic IDs, texts and popularity."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.data.popularity import target_counts
from sidestep.data.splits import Split
from sidestep.lazy_imports import imported_when_used
from sidestep.tokenizer.choices import CollisionPolicy
from sidestep.tokenizer.published import PublishedIds

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.tokenizer import collisions as colliding


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
    *,
    space: str | None = None,
) -> catalogs.Catalog:
    """The catalog of a dataset, with its texts and the popularity in the training part.

    Args:
        dataset: whose items.
        split: its training part counts.
        semantic_ids: one per item.
        codebook_sizes: codes per level.
        space: the import path of the code space; None is the trie.

    Raises:
        ValueError: see `Catalog.build`.
    """
    texts = dataset.items.frame.drop("item_id")
    return catalogs.Catalog.build(
        dataset.items.item_ids,
        semantic_ids,
        codebook_sizes,
        popularity=popularity_of(split, len(dataset.items)),
        texts=texts if texts.width else None,
        space=space,
    )


def published_catalog(
    dataset: Dataset, ids: PublishedIds, policy: CollisionPolicy, *, space: str | None = None
) -> catalogs.Catalog:
    """The catalog of a dataset with semantic IDs that others have published.

    Args:
        dataset: whose items.
        ids: one per item.
        policy: what becomes of items with equal codes; `extra` or `none`.
        space: see `make_catalog`.

    Raises:
        ValueError: the policy needs vectors; or see `Catalog.build`.
    """
    if policy == "reassign":
        raise ValueError(
            "--collisions reassign needs the vectors behind the codes, which published semantic "
            "IDs come without; take 'extra' or 'none'."
        )
    semantic_ids: Int[np.ndarray, "items levels"] = ids.semantic_ids
    sizes = ids.codebook_sizes
    if policy == "extra":
        semantic_ids = colliding.with_numbers(semantic_ids)
        sizes = (*sizes, int(semantic_ids[:, -1].max(initial=0)) + 1)
    return make_catalog(dataset, split_of(dataset), semantic_ids, sizes, space=space)


def refuse_other_items(catalog: catalogs.Catalog, dataset: Dataset) -> None:
    """Raises a `ValueError` unless the catalog has the items of the dataset, in their order."""
    if catalog.item_ids.to_pylist() != list(dataset.items.item_ids):
        raise ValueError(
            f"the catalog's {catalog.num_items} items are not those of the dataset "
            f"{dataset.name}, which has {len(dataset.items)}, in the same order; run 'sidestep "
            "tokenize' on this dataset."
        )
