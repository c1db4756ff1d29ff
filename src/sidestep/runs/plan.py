"""Plans of runs: all that a run is made from. Dry run, training and page use the same plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.data.dataset import Dataset
from sidestep.data.splits import Split
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.data import windows as data_windows
    from sidestep.training import fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The inputs of a run beside its configuration.

    dataset: the interactions and items.
    split: of the dataset.
    catalog: the semantic IDs; None where none were given.
    out: the folder of the run.
    seed: of weights, shuffling and dropout.
    """

    dataset: Dataset
    split: Split
    catalog: catalogs.Catalog | None
    out: Path
    seed: int


@dataclass(frozen=True, slots=True)
class Material:
    """The data of a run.

    split: the rows to learn from and to choose by.
    catalog: the items, in the order of the split.
    max_history: most recent items of a history that are looked at.
    """

    split: Split
    catalog: catalogs.Catalog
    max_history: int

    def __post_init__(self) -> None:
        """Raises a `ValueError` where split and catalog stem from different datasets."""
        for rows in (self.split.train, self.split.validation):
            items = rows.histories.items
            if len(items) and items.max() >= self.catalog.num_items:
                raise ValueError(
                    f"the split names item {items.max()}, but the catalog has "
                    f"{self.catalog.num_items} items: they stem from different datasets; tokenize "
                    "this dataset."
                )

    def windows(self) -> data_windows.Windows:
        """The windows of the training part, with all of its targets."""
        return data_windows.training_windows(self.split.train, self.max_history)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The lines of a bundle about the run that made it.

    seed: of the run.
    training: a summary, as JSON; empty where nothing was trained.
    data: name and hashes of the dataset, as JSON.
    """

    seed: int
    training: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan of a run.

    material: the data.
    learning: the training, which changes networks in place; None where nothing is learned.
    save: writes the bundle, after the training.
    write_page: writes a page about the run into the folder of the run, after the training; None for
        no page.
    """

    material: Material
    learning: fit.Learning | None = None
    save: Callable[[Path, Origin], None]
    write_page: Callable[[Path], None] | None = None
