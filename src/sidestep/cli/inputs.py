"""What commands make of datasets: splits, popularity, fingerprints and catalogs without codes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import differing_data
from sidestep.catalog.catalog import Catalog
from sidestep.cli.console import warn
from sidestep.data.dataset import Dataset
from sidestep.data.frames import content_sha256
from sidestep.data.global_time import strategy_in_words
from sidestep.data.splits import LEAVE_ONE_OUT, Split, leave_one_out
from sidestep.data.time_leak import time_leak


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
    """The dataset's own split, else leave-one-out; the import has put the rows in order.

    Args:
        dataset: what is split.
        min_context: items that must precede a training position for it to be predicted.
    """
    if dataset.split is None:
        return leave_one_out(dataset.histories(), min_context=min_context)
    return replace(dataset.split, train=dataset.split.train.after(min_context))


def strategy_of(split: Split) -> str | None:
    """What results files say of a split; None for leave-one-out, which they take for granted."""
    return None if split.strategy == LEAVE_ONE_OUT else split.strategy


def warn_of_leak(split: Split, dataset: Path) -> None:
    """Says how far a split learns from what happened after its test targets, if it does.

    Args:
        split: of the dataset.
        dataset: its folder, for the remedy.
    """
    leak = time_leak(split)
    if leak is not None and leak.rows > 0:
        warn(
            f"{split.strategy} leaks time: for {leak.rows:.1%} of the test rows there is "
            f"training data from after the target, on average {leak.interactions:.1%} of it, so "
            "results may not hold in use. To learn from the past alone: sidestep data split "
            f"{dataset} --strategy global-time"
        )


def popularity_of(split: Split, num_items: int) -> Int[np.ndarray, " items"]:
    """Interactions per item in the training part."""
    return np.bincount(split.train.histories.items, minlength=num_items)


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """What makes this dataset this dataset, as JSON; another split makes another dataset."""
    own = dataset.split
    return {
        "name": dataset.name,
        "interactions": content_sha256(dataset.interactions.frame),
        "items": content_sha256(dataset.items.frame),
        # A stored leave-one-out is what is made anyway.
        **({"split": own.fingerprint()} if own is not None and strategy_of(own) else {}),
    }


def refuse_other_data(loaded: LoadedRecommender, dataset: Dataset) -> None:
    """Raises a `ValueError` unless a bundle was trained on this dataset and split.

    A bundle that does not know, as its network came from elsewhere, must have the same items.
    """
    if loaded.ranker_use is not None:
        differing = differing_data(loaded.ranker_use.data, fingerprint(dataset))
        if differing:
            raise ValueError(
                f"the ranker beside this bundle was trained on another dataset than this "
                f"{dataset.name}: different {' and '.join(differing)}; attach one that was "
                "trained on it."
            )
    trained_on = loaded.manifest.data
    if not trained_on:
        refuse_other_items(loaded.catalog, dataset)
        return
    differing = differing_data(trained_on, fingerprint(dataset))
    if differing:
        raise ValueError(
            f"the bundle was trained on another dataset than this {dataset.name} "
            f"({trained_on.get('name')!r}, or an older state or another split of it): different "
            f"{' and '.join(differing)}; give the one it was trained on, or train again."
        )


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


def warn_of_other_split(catalog: Catalog, dataset: Dataset, split: Split) -> None:
    """Says so if a catalog counts its items' popularity in another training part.

    Its codes may then have been learned from the targets of this split.
    """
    counts = popularity_of(split, len(dataset.items))
    if catalog.popularity is not None and not np.array_equal(catalog.popularity, counts):
        warn(
            f"the catalog was made from another training part of {dataset.name} than that of its "
            f"split ({strategy_in_words(split.strategy)}); run 'sidestep tokenize' again (and "
            "'sidestep embed', where vectors are collaborative), or targets may have shaped its "
            "codes."
        )


def refuse_other_items(catalog: Catalog, dataset: Dataset) -> None:
    """Raises a `ValueError` unless the catalog has the items of the dataset, in their order."""
    if catalog.item_ids.to_pylist() != list(dataset.items.item_ids):
        raise ValueError(
            f"the catalog's {catalog.num_items} items are not those of the dataset "
            f"{dataset.name}, which has {len(dataset.items)}, in the same order; run 'sidestep "
            "tokenize' on this dataset."
        )


def read_ids(path: Path) -> list[str]:
    """Item IDs from a text file, one per line; empty lines are left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no UTF-8 text, or holds no ID.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file of item IDs.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error
    item_ids = [line.strip() for line in lines if line.strip()]
    if not item_ids:
        raise ValueError(f"{path}: there is no item ID in it; write one per line.")
    return item_ids
