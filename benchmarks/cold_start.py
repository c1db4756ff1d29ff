"""Hit rates of items that were appended after the training, and the cost for the other items.

A random share of the items, the cold items, is held out. A model is trained on a data set without
these items and their interactions. Then the cold items are appended by their texts, and the model
is evaluated on the test rows of the whole data set. The last items of a thinned sequence are never
later than those of the whole sequence, so no test target is trained on.

    python benchmarks/cold_start.py lcrec DATA/scientific --set training.epochs=8 \
        --config configs/scientific-transformer.yaml --work runs/cold-start

The last line is one JSON object; --results appends it to a file. Rows with a cold target are
evaluated in four ways: among all items, among the cold items, by popularity, which never finds cold
items, and by the nearest texts of the history, which needs no model. Rows with a warm target are
evaluated before and after the cold items are appended. Both kinds of rows are also evaluated with
some of ten places reserved for cold items. A killed run continues when the same command is given
again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from result_line import add_results_option, finish
from sidestep.baselines.item_scores import ItemScoreRecommender, PopularityRecommender
from sidestep.bundle.appending import append_items
from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import KeptSearch
from sidestep.data.dataset import Dataset
from sidestep.data.histories import Histories
from sidestep.data.importers.lcrec import import_lcrec, lcrec_files
from sidestep.data.interactions import Interactions
from sidestep.data.own_split import split_of
from sidestep.data.splits import Rows
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.embedding.config import TfidfConfig
from sidestep.embedding.tfidf import FittedTfidf, fit_tfidf
from sidestep.evaluation.evaluator import Evaluation, evaluate, fixed_users
from sidestep.padding import NO_ITEM
from sidestep.recommender import Recommender
from sidestep.runs.catalogs import make_catalog
from sidestep.runs.config import read_config
from sidestep.runs.environment import command_line, git_commit, machine
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.runs.train import train_run
from sidestep.step import HistoryBatch
from sidestep.tokenizer.appending import append_last_codes
from sidestep.tokenizer.collisions import reassign_last_codes
from sidestep.tokenizer.residual_kmeans import ResidualKMeans, ResidualKMeansConfig
from sidestep.tokenizer.tokenizer import FittedTokenizer

K = 50
CUTOFFS = (10, 50)
NEW_PLACES = (0, 1, 2, 3, 5)


class NearestTexts(ItemScoreRecommender):
    """Recommender that ranks items by similarity to the texts of the history. It learns nothing."""

    name = "nearest-texts"
    score_kind = "cosine"

    def __init__(self, vectors: np.ndarray, *, max_history: int) -> None:
        self.vectors = torch.from_numpy(vectors)
        self.max_history = max_history

    @property
    def num_items(self) -> int:
        """Number of items, each with a vector."""
        return len(self.vectors)

    def scores(self, histories: HistoryBatch) -> torch.Tensor:
        """Scores: products with the sum of the vectors of the history's items that are read."""
        histories = histories.latest(self.max_history)
        is_item = (histories.items != NO_ITEM)[..., None]
        return (self.vectors[histories.items.clamp(min=0)] * is_item).sum(1) @ self.vectors.T


def without(dataset: Dataset, item_ids: Sequence[str]) -> Dataset:
    """Makes a data set without these items."""
    gone = set(item_ids)
    kept = [item for item in dataset.items.item_ids if item not in gone]
    frame = dataset.interactions.frame
    return Dataset(
        interactions=Interactions(frame.filter(frame["item_id"].is_in(kept))),
        items=dataset.items.restricted_to(kept),
        name=dataset.name,
    )


def texts_of(dataset: Dataset) -> dict[str, list[str | None]]:
    """Texts of every text column, by its name."""
    return {name: dataset.items.frame[name].to_list() for name in dataset.items.text_columns}


def trained(
    warm: Dataset, run: TransformerRun, sizes: tuple[int, ...], dim: int, folder: Path, seed: int
) -> tuple[LoadedRecommender, FittedTfidf, FittedTokenizer]:
    """Trains the model without the cold items. Returns it with its TF-IDF and its tokenizer."""
    tfidf = fit_tfidf(texts_of(warm), TfidfConfig(dim=dim), seed=seed, may_be_narrower=True)
    vectors = tfidf.encode(texts_of(warm))
    fit = ResidualKMeans(ResidualKMeansConfig(codebook_sizes=sizes)).fit(vectors, seed=seed)
    codebooks, codes = fit.tokenizer, fit.semantic_ids
    codes = reassign_last_codes(
        codes, codebooks.last_residuals(vectors, codes), codebooks.last_codewords
    )
    catalog = make_catalog(warm, split_of(warm), codes, sizes)
    info = RunInfo(dataset=warm.name, catalog="cold-start", seed=seed)
    train_run(run, warm, catalog, folder=RunFolder(folder), info=info)
    # All results of this benchmark are those of a plain beam.
    model = load(folder, device="cpu").with_search(KeptSearch())
    return model, tfidf, codebooks


def rows_of(loaded: LoadedRecommender, dataset: Dataset, rows: Rows) -> Rows:
    """Rows of a data set in the item indices of a bundle, without items that the bundle lacks."""
    names = np.array(dataset.items.item_ids, dtype=object)
    ids = {
        user: list(names[rows.histories.of(row)])
        for row, user in enumerate(rows.histories.user_ids)
    }
    histories, _ = Histories.from_item_ids(ids, loaded.catalog.indices_of)
    return Rows(histories=histories, targets=loaded.catalog.indices_of(list(names[rows.targets])))


def hit_rates(recommender: Recommender, rows: Rows) -> dict[str, float]:
    """HR at all cut-offs."""
    metrics = evaluated(recommender, rows).metrics
    return {f"HR@{k}": metrics[f"HR@{k}"] for k in CUTOFFS}


def with_places(loaded: LoadedRecommender, rows: Rows) -> dict[str, float]:
    """HR@10 of lists of ten, by the number of places that are reserved for cold items."""
    rates = {}
    for num_places in NEW_PLACES:
        recommender = loaded.recommender(num_new_places=num_places)
        metrics = evaluate(recommender, rows, k=10).metrics
        rates[str(num_places)] = metrics["HR@10"]
    return rates


def evaluated(recommender: Recommender, rows: Rows) -> Evaluation:
    """Evaluates the lists of all rows."""
    return evaluate(recommender, rows, k=K)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """A model before and after the cold items were appended.

    siblings, zeros: the model after, by the way in which the network's parts for new items are
        initialised.
    nearest_texts: recommender by texts over the same items, which needs no model.
    num_moved: number of cold items that did not get the codes nearest to their vectors.
    """

    cold_ids: list[str]
    old: LoadedRecommender
    siblings: LoadedRecommender
    zeros: LoadedRecommender
    nearest_texts: NearestTexts
    num_moved: int


def grown(
    dataset: Dataset,
    run: TransformerRun,
    *,
    share: float,
    sizes: tuple[int, ...],
    dim: int,
    folder: Path,
    seed: int,
) -> Grown:
    """Trains without a random share of the items, then appends these items."""
    ids = np.array(dataset.items.item_ids, dtype=object)
    num_cold = round(share * len(ids))
    chosen = np.random.default_rng(seed).choice(len(ids), num_cold, replace=False)
    cold = list(ids[np.sort(chosen)])
    old, tfidf, codebooks = trained(without(dataset, cold), run, sizes, dim, folder, seed)

    items = dataset.items.frame
    new_items = items.filter(items["item_id"].is_in(cold))
    vectors = tfidf.encode({name: new_items[name].to_list() for name in tfidf.columns})
    nearest = codebooks.encode(vectors)
    codes = append_last_codes(
        old.catalog.semantic_ids.numpy(),
        nearest,
        codebooks.last_residuals(vectors, nearest),
        codebooks.last_codewords,
    )
    new_ids = new_items["item_id"].to_list()
    siblings, zeros = (
        append_items(old, new_ids, codes, texts=new_items.drop("item_id"), new_rows=kind)
        for kind in ("siblings", "zeros")
    )
    texts = siblings.catalog.texts.collect()
    return Grown(
        cold_ids=new_ids,
        old=old,
        siblings=siblings,
        zeros=zeros,
        nearest_texts=NearestTexts(
            tfidf.encode({name: texts[name].to_list() for name in tfidf.columns}),
            max_history=run.max_history,
        ),
        num_moved=int((codes != nearest).any(axis=1).sum()),
    )


def measured(dataset: Dataset, models: Grown, *, num_users: int) -> dict[str, Any]:
    """Measures all numbers of one data set, on test rows with cold and with warm targets."""
    ids = np.array(dataset.items.item_ids, dtype=object)
    test = split_of(dataset).test
    is_cold = np.isin(ids[test.targets], models.cold_ids)
    cold = rows_of(models.siblings, dataset, test.select(np.flatnonzero(is_cold)))
    warm = test.select(np.flatnonzero(~is_cold))
    warm = warm.select(fixed_users(len(warm), min(num_users, len(warm))))
    before, after = (rows_of(model, dataset, warm) for model in (models.old, models.siblings))
    has_cold = before.histories.lengths != after.histories.lengths
    return {
        "items": len(ids),
        "cold_items": len(models.cold_ids),
        "moved_codes": models.num_moved,
        "cold_rows": len(cold),
        "warm_rows": len(warm),
        "warm_rows_with_cold_history": int(has_cold.sum()),
        **of_cold_targets(models, cold),
        **of_warm_targets(models, before, after, np.flatnonzero(has_cold)),
        "HR@10 by places for cold items": {
            "cold": with_places(models.siblings, cold),
            "warm": with_places(models.siblings, after),
        },
        **same_lists(models, before, after, has_cold),
    }


def of_cold_targets(models: Grown, rows: Rows) -> dict[str, Any]:
    """Hit rates of rows with cold targets, among all items and among the cold items."""
    num_items, num_cold = models.siblings.catalog.num_items, len(models.cold_ids)
    counts = np.concatenate([models.old.catalog.popularity, np.zeros(num_cold, dtype=np.int64)])
    among_cold = models.siblings.recommender(available=models.cold_ids)
    return {
        "cold": {
            "model": hit_rates(models.siblings.recommender(), rows),
            "model, zero rows": hit_rates(models.zeros.recommender(), rows),
            "nearest texts": hit_rates(models.nearest_texts, rows),
            "popularity": hit_rates(PopularityRecommender(counts), rows),
            "chance": {f"HR@{k}": k / num_items for k in CUTOFFS},
        },
        "cold, among the cold items": {
            "model": hit_rates(among_cold, rows),
            "chance": {f"HR@{k}": min(1.0, k / num_cold) for k in CUTOFFS},
        },
    }


def of_warm_targets(
    models: Grown, before: Rows, after: Rows, with_cold: np.ndarray
) -> dict[str, Any]:
    """Hit rates before and after, on all rows and on rows with cold items in the history."""
    old, new, zeros = (model.recommender() for model in (models.old, models.siblings, models.zeros))
    return {
        "warm": {
            "before": hit_rates(old, before),
            "after": hit_rates(new, after),
        },
        "warm, cold items in the history": {
            "before": hit_rates(old, before.select(with_cold)),
            "siblings": hit_rates(new, after.select(with_cold)),
            "zeros": hit_rates(zeros, after.select(with_cold)),
        },
    }


def same_lists(models: Grown, before: Rows, after: Rows, has_cold: np.ndarray) -> dict[str, Any]:
    """Compares lists of warm rows before and after: they are equal, except for cold items."""
    num_warm = models.old.catalog.num_items
    untouched = np.flatnonzero(~has_cold)
    warm_ids = models.siblings.catalog.ids_of(np.arange(num_warm))
    among_warm = models.siblings.recommender(available=warm_ids)
    lists_before = evaluated(models.old.recommender(), before).items
    lists_after = evaluated(models.siblings.recommender(), after).items
    limited = evaluated(among_warm, after.select(untouched)).items
    is_free = (lists_after < num_warm).all(1).numpy() & ~has_cold
    return {
        "share_of_cold_items_in_warm_lists": float((lists_after >= num_warm).float().mean()),
        "same_lists_among_warm_items": float(
            (limited == lists_before[untouched]).all(1).float().mean()
        ),
        "rows_without_cold_items": int(is_free.sum()),
        "same_lists_without_cold_items": int(
            (lists_after[is_free] == lists_before[is_free]).all(1).sum()
        ),
    }


def main() -> None:
    """Runs the benchmark and prints the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source", choices=["lcrec", "synthetic"])
    parser.add_argument("data", type=Path, nargs="?", help="The folder of an LC-Rec data set.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument(
        "--share", type=float, default=0.05, help="Share of the items that are cold."
    )
    parser.add_argument("--codebook-sizes", type=int, nargs="+", default=[256, 256, 256])
    parser.add_argument("--dim", type=int, default=128, help="Width of the text vectors.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, default=2000, help="Number of fixed warm test rows.")
    parser.add_argument("--work", type=Path, required=True, help="The run's folder.")
    add_results_option(parser)
    asked = parser.parse_args()
    run = read_config(asked.config, asked.settings)
    assert isinstance(run, TransformerRun)
    if asked.source == "lcrec":
        dataset = import_lcrec(*lcrec_files(asked.data))
    else:
        dataset, _ = synthetic_shop(SyntheticShopConfig(), asked.seed)
    models = grown(
        dataset,
        run,
        share=asked.share,
        sizes=tuple(asked.codebook_sizes),
        dim=asked.dim,
        folder=asked.work,
        seed=asked.seed,
    )
    result = measured(dataset, models, num_users=asked.users)
    line = {
        "benchmark": "cold_start",
        "dataset": dataset.name,
        "seed": asked.seed,
        "epochs": run.training.epochs,
        **result,
        "threads": torch.get_num_threads(),
        "command": command_line(),
        "commit": git_commit(),
        "date": date.today().isoformat(),
        "machine": machine(),
    }
    finish(line, asked.results)


if __name__ == "__main__":
    main()
