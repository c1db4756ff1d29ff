"""Inputs of commands: dataset folders, names and files of item IDs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sidestep.cli.console.output import warn
from sidestep.cli.needed_rows import check_judged
from sidestep.cli.options import split_names, unquoted_name
from sidestep.data.dataset import Dataset
from sidestep.data.splits import Split
from sidestep.data.time_leak import time_leak
from sidestep.files import read_utf8
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import command
from sidestep.padding import NO_ITEM

with imported_when_used():
    from sidestep.catalog import catalog as catalogs


def load_dataset(path: Path) -> Dataset:
    """The dataset of a folder.

    Raises:
        FileNotFoundError: there is none; says which command makes it.
        ValueError: it is damaged, or has no rows that a pipeline could judge by.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no dataset here; make one with 'sidestep import'.")
    dataset = Dataset.load(path)
    check_judged(dataset, path)
    return dataset


def warn_of_leak(split: Split, dataset: Path) -> None:
    """Warns of a split that trains on interactions from after its test targets, and says how many.

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
    text = read_utf8(path)
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"{path}: there is no item ID in it; write one per line.")
    is_known = catalog.indices_of(lines) != NO_ITEM
    return [
        line if known else unquoted_name(line.strip())
        for line, known in zip(lines, is_known, strict=True)
    ]
