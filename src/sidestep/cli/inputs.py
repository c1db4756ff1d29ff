"""What commands make of datasets: splits, popularity, fingerprints and catalogs without codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from sidestep.bundle.manifest import MANIFEST, bundle_folder, read_manifest
from sidestep.cli.console import command, warn
from sidestep.cli.judged_rows import check_judged
from sidestep.cli.lazy import when_used
from sidestep.cli.options import split_names, unquoted_name
from sidestep.data.dataset import Dataset
from sidestep.data.frames import content_sha256
from sidestep.data.splits import LEAVE_ONE_OUT, Split, leave_one_out
from sidestep.data.time_leak import time_leak
from sidestep.padding import NO_ITEM

with when_used():
    from sidestep.bundle import folder as bundle_files
    from sidestep.bundle import loaded as bundles
    from sidestep.catalog import catalog as catalogs


def load_dataset(path: Path) -> Dataset:
    """A dataset folder.

    Raises:
        FileNotFoundError: there is none; says which command makes it.
        ValueError: it is damaged, or has no rows that a pipeline could judge by.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no dataset here; make one with 'sidestep import'.")
    dataset = Dataset.load(path)
    check_judged(dataset, path)
    return dataset


def load_catalog(path: Path) -> catalogs.Catalog:
    """A catalog folder.

    Raises:
        FileNotFoundError: there is none; says which command makes it.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no catalog here; make one with 'sidestep tokenize'.")
    # It is about to be trained on: a code that changed on disk must not pass.
    return catalogs.Catalog.load(path, verify=True)


def load_bundle(path: Path, *, device: str | None = None) -> bundles.LoadedRecommender:
    """A bundle, or that of a run, see `load`; what is missing is said before torch is imported."""
    read_manifest(bundle_folder(path) / MANIFEST)
    return bundle_files.load(path, device=device)


def split_of(dataset: Dataset, *, min_context: int = 0) -> Split:
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
            "results may not hold in use. To learn from the past alone: "
            + command("data", "split", dataset, "--strategy", "global-time")
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


def named_items(values: Sequence[str], catalog: catalogs.Catalog) -> list[str]:
    """The item IDs that an option is given, see `split_names`; the catalog may lack some."""
    return split_names(values, lambda item_id: catalog.indices_of([item_id])[0] != NO_ITEM)


def read_ids(path: Path, catalog: catalogs.Catalog) -> list[str]:
    """Item IDs from a text file, one per line; empty lines are left out.

    An ID with blanks around it is read as it stands if the catalog has it, or in double quotes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no UTF-8 text, or holds no ID.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file of item IDs.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"{path}: there is no item ID in it; write one per line.")
    is_known = catalog.indices_of(lines) != NO_ITEM
    return [
        line if known else unquoted_name(line.strip())
        for line, known in zip(lines, is_known, strict=True)
    ]
