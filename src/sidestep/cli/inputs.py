"""What commands make of datasets: splits, popularity, fingerprints and catalogs without codes."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.frames import content_sha256
from sidestep.data.splits import Split, leave_one_out


def load_dataset(path: Path) -> Dataset:
    """A dataset folder.

    Raises:
        FileNotFoundError: there is none; says which command makes it.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no dataset here; make one with 'sidestep import'.")
    return Dataset.load(path)


def load_catalog(path: Path) -> Catalog:
    """A catalog folder.

    Raises:
        FileNotFoundError: there is none; says which command makes it.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no catalog here; make one with 'sidestep tokenize'.")
    # It is about to be trained on: a code that changed on disk must not pass.
    return Catalog.load(path, verify=True)


def split_of(dataset: Dataset, *, min_context: int = 1) -> Split:
    """Leave-one-out; the import has already put the rows in the order of events."""
    return leave_one_out(dataset.histories(), min_context=min_context)


def popularity_of(split: Split, num_items: int) -> Int[np.ndarray, " items"]:
    """Interactions per item in the training part."""
    return np.bincount(split.train.histories.items, minlength=num_items)


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """What makes this dataset this dataset, as JSON."""
    return {
        "name": dataset.name,
        "interactions": content_sha256(dataset.interactions.frame),
        "items": content_sha256(dataset.items.frame),
    }


def flat_catalog(dataset: Dataset, split: Split) -> Catalog:
    """A catalog of one level with one code per item, for recommenders that need no codes."""
    num_items = len(dataset.items)
    return make_catalog(dataset, split, np.arange(num_items, dtype=np.int32)[:, None], (num_items,))


def make_catalog(
    dataset: Dataset,
    split: Split,
    semantic_ids: Int[np.ndarray, "items levels"],
    codebook_sizes: tuple[int, ...],
) -> Catalog:
    """The catalog of a dataset, with its texts and the popularity in the training part."""
    texts = dataset.items.frame.drop("item_id")
    return Catalog.build(
        dataset.items.item_ids,
        semantic_ids,
        codebook_sizes,
        popularity=popularity_of(split, len(dataset.items)),
        texts=texts if texts.width else None,
    )


def refuse_other_items(catalog: Catalog, dataset: Dataset) -> None:
    """Raises a `ValueError` unless the catalog has the items of the dataset, in their order."""
    if catalog.item_ids.to_pylist() != list(dataset.items.item_ids):
        raise ValueError(
            f"the catalog's {catalog.num_items} items are not those of the dataset "
            f"{dataset.name}, which has {len(dataset.items)}, in the same order; run 'sidestep "
            "tokenize' on this dataset."
        )
