"""Next steps: commands that a shell takes as they are printed, without a name to fill in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sidestep.data.dataset import Dataset
from sidestep.data.names import quoted_name
from sidestep.data.splits import Split
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import command

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.catalog import own_space
    from sidestep.data import own_split


def embedding_of(dataset: Dataset, folder: Path) -> str:
    """The command that embeds a dataset, by what is there to embed.

    Args:
        dataset: as it is stored.
        folder: where.
    """
    has_texts = any(
        (dataset.items.frame[name].fill_null("").str.strip_chars() != "").any()
        for name in dataset.items.text_columns
    )
    if not has_texts and not _has_pairs(dataset):
        return command("data", "stats", folder)  # neither texts nor users with two items
    source = () if has_texts else ("--collaborative",)
    return command("embed", folder, *source, "--out", folder.parent / "vectors.npy")


def training_on(dataset: Path, catalog: Path, space: str | None) -> str:
    """The command that trains a Transformer, with the settings that it has by default.

    Args:
        dataset: the folder of the dataset.
        catalog: the folder of the catalog.
        space: what the codes of the catalog span, see `Catalog.space`.
    """
    kind = "code-sets" if space == own_space.SETS else "transformer"
    return command(
        *("train", "--set", f"kind={kind}", "--dataset", dataset),
        *("--catalog", catalog, "--out", catalog.parent / kind),
    )


def training_on_titles(dataset: Path, catalog: Path, language_model: str) -> str:
    """The command that trains a language model on a catalog of titles.

    Args:
        dataset: the folder of the dataset.
        catalog: the folder of the catalog.
        language_model: the one whose tokens are the codes.
    """
    return command(
        *("train", "--set", "kind=language-model", "--set", "model.codes=titles"),
        *("--set", f"model.language_model={language_model}", "--dataset", dataset),
        *("--catalog", catalog, "--out", catalog.parent / "language-model"),
    )


def evaluation_of(run: Path, split: Split, catalog: catalogs.Catalog, *more: object) -> str:
    """The command that judges a run by rows that there are; without any, one that recommends."""
    for part, rows in (("validation", split.validation), ("test", split.test)):
        if len(rows):
            words = () if part == "validation" else ("--split", part)
            return command("evaluate", run, *words, *more)
    return recommendation_by(run, catalog)


def recommendation_by(bundle: Path, catalog: catalogs.Catalog) -> str:
    """The command that recommends after a history, of the first item."""
    return command("recommend", bundle, "--history", quoted_name(catalog.ids_of(np.array([0]))[0]))


def _has_pairs(dataset: Dataset) -> bool:
    """Whether two different items stand next to each other in the training part."""
    histories = own_split.split_of(dataset).train.histories
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    is_pair = (users[1:] == users[:-1]) & (histories.items[1:] != histories.items[:-1])
    return bool(is_pair.any())
