"""Plans: all that a run is made from, built once. A plan serves dry run, training and page."""

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
    """All that a run is given beside its configuration.

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
        """All targets of the training part."""
        return data_windows.training_windows(self.split.train, self.max_history)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The lines of a bundle about the run that made it.

    training: a summary, as JSON; empty where nothing was trained.
    data: name and hashes of the dataset, as JSON.
    """

    seed: int
    training: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run before its work.

    material: its data.
    learning: its training, in place; None where nothing is learned.
    save: leaves a bundle that recommends by itself, after the training.
    write_page: shows the run in a page in its folder, after the training; None for no page.
    """

    material: Material
    learning: fit.Learning | None = None
    save: Callable[[Path, Origin], None]
    write_page: Callable[[Path], None] | None = None
