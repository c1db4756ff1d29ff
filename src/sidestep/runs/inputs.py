"""Folders that runs read: datasets, catalogs, bundles, and the command that makes a missing one."""

from __future__ import annotations

from pathlib import Path

from sidestep.bundle.manifest import MANIFEST, bundle_folder, read_manifest
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.bundle import folder as bundle_files
    from sidestep.bundle import loaded as bundles
    from sidestep.catalog import catalog as catalogs
    from sidestep.data import dataset as datasets
    from sidestep.runs import needed_rows


def load_dataset(path: Path) -> datasets.Dataset:
    """The dataset of a folder.

    Raises:
        FileNotFoundError: there is none; says which command makes it.
        ValueError: it is damaged, or has no rows of the part that is needed, see `rows_needed`.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no dataset here; make one with 'sidestep import'.")
    dataset = datasets.Dataset.load(path)
    needed_rows.check_judged(dataset, path)
    return dataset


def load_catalog(path: Path) -> catalogs.Catalog:
    """The catalog of a folder, with its hashes compared.

    Raises:
        FileNotFoundError: there is none; says which command makes it.
        ValueError: a file is damaged.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no catalog here; make one with 'sidestep tokenize'.")
    # It is about to be trained on: a code that changed on disk must not pass.
    return catalogs.Catalog.load(path, verify=True)


def load_bundle(path: Path, *, device: str | None = None) -> bundles.LoadedRecommender:
    """The bundle of a folder, see `load`; the manifest is read before torch is imported.

    Raises:
        FileNotFoundError, ValueError, ImportError: see `load`.
    """
    read_manifest(bundle_folder(path) / MANIFEST)
    return bundle_files.load(path, device=device)
