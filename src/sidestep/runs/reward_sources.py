"""Sources of rewards: the files and runs that a configuration names, read and checked."""

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.baselines.item_scores import ItemNetworkRecommender
from sidestep.bundle.columns import categories_for
from sidestep.bundle.folder import load
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.data.dataset import Dataset
from sidestep.data.importers.item_numbers import read_item_numbers
from sidestep.data.splits import Split
from sidestep.files import file_sha256
from sidestep.model.sasrec import SasRec
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.runs.backbones import manifest_sha256
from sidestep.runs.catalogs import popularity_of
from sidestep.runs.provenance import named_item_vectors, refuse_other_data
from sidestep.search.policy import whole_space
from sidestep.step import HistoryBatch
from sidestep.training.rewards import ItemScores, RewardSources, code_sums, item_head_scores

Embeddings = Float[Tensor, "items dim"]
"""A vector of every item of the catalog, from a frozen encoder."""


def reward_sources(
    dataset: Dataset,
    split: Split,
    catalog: Catalog,
    network: SemanticIdModel,
    *,
    embeddings: str | None,
    collaborative: str | None,
    worth: str | None = None,
) -> RewardSources:
    """The sources that a run may make rewards from.

    Args:
        dataset: the rows.
        split: of which only the training part is counted.
        catalog: of the policy.
        network: the policy before it learns.
        embeddings: file of item vectors; None for none.
        collaborative: the run or bundle of a SASRec; None for none.
        worth: table of what items are worth; None for none.

    Raises:
        FileNotFoundError: a file or run that the configuration names is not there.
        ValueError: the file or the run does not fit the dataset.
    """
    compared = None
    if embeddings is not None:
        vectors = embeddings_of(embeddings, dataset)
        compared = LeafEmbeddings.of(vectors, whole_space(catalog.spanned))
    return RewardSources(
        embeddings=compared,
        collaborative=None if collaborative is None else _collaborative(collaborative, dataset),
        item_head=item_head_scores(network),
        categories=_categories(dataset),
        head_categories=categories_for(network, catalog),
        codes=catalog.semantic_ids,
        code_sums=partial(code_sums, network),
        popularity=popularity_of(split, catalog.num_items),
        worths=None if worth is None else worths_of(worth, dataset),
    )


def embeddings_of(file: str, dataset: Dataset) -> Embeddings:
    """The vectors that rewards compare the items of a dataset by.

    Raises:
        FileNotFoundError, ValueError: see `named_item_vectors`.
    """
    return torch.from_numpy(named_item_vectors(file, dataset))


def worths_of(file: str, dataset: Dataset) -> Float[np.ndarray, " items"]:
    """The worths of the items of a dataset, from a table with the columns item_id and worth.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the table is damaged, or an item has no number.
    """
    if not Path(file).exists():
        raise FileNotFoundError(
            f"worth: {file}: no table here; give one with the columns item_id and worth."
        )
    return read_item_numbers(Path(file), dataset.items.item_ids)


def sources_sha256(
    embeddings: str | None, collaborative: str | None, worth: str | None = None
) -> dict[str, str]:
    """Hashes of the files that rewards are made from, by their keys."""
    hashes = {}
    if embeddings is not None:
        hashes["embeddings"] = file_sha256(Path(embeddings))
    if collaborative is not None:
        hashes["collaborative"] = manifest_sha256(collaborative)
    if worth is not None:
        hashes["worth"] = file_sha256(Path(worth))
    return hashes


def _collaborative(run: str, dataset: Dataset) -> ItemScores:
    """The scores of the SASRec of a run or bundle."""
    try:
        loaded = load(Path(run), device="cpu")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"collaborative: {error}") from error
    if not isinstance(loaded.network, SasRec):
        raise ValueError(f"collaborative: {run} is {loaded.kind}; name a run of kind sasrec.")
    refuse_other_data(loaded, dataset)
    network, max_history = loaded.network, loaded.max_history

    def scores(histories: HistoryBatch) -> Tensor:
        return ItemNetworkRecommender(network, max_history=max_history).scores(histories)

    return ItemScores(network=network, of=scores)


def _categories(dataset: Dataset) -> np.ndarray | None:
    """A number per item and distinct text of the column `categories`, -1 where there is none."""
    if "categories" not in dataset.items.frame.columns:
        return None
    column = dataset.items.frame["categories"]
    ranks = column.rank("dense").cast(pl.Int64).fill_null(0) - 1
    found: np.ndarray = ranks.to_numpy()
    return found
