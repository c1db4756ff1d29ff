"""How often items are found that were appended after the training, and what that costs the others.

Holds a random share of the items out: a model is trained on a data set in which they and their
interactions do not exist, then they are appended by their texts, and the test rows of the whole
data set are asked for. The last items of a thinned sequence never lie behind those of the whole
one, so no test target is trained on.

    python benchmarks/cold_start.py lcrec DATA/scientific --set training.epochs=8 \
        --config configs/scientific-transformer.yaml --work runs/cold-start

The last line is one JSON object; --results appends it to a file. Rows with a cold target are
judged in four ways: among all items, among the cold ones, by popularity, which never finds them,
and by the nearest texts of the history, which needs no model. Warm rows are judged before and
after, and both kinds with some of ten places reserved for the cold items. A killed run continues
when the same command is given again.
"""

import argparse
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sidestep.baselines.item_scores import ItemScoreRecommender, PopularityRecommender
from sidestep.bundle.appending import append_items
from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.cli.config import TransformerRun, read_config
from sidestep.cli.environment import command_line, git_commit, machine
from sidestep.cli.inputs import make_catalog, split_of
from sidestep.cli.runs import RunFolder, RunInfo, train_run
from sidestep.data.dataset import Dataset
from sidestep.data.histories import Histories
from sidestep.data.importers.lcrec import import_lcrec, lcrec_files
from sidestep.data.interactions import Interactions
from sidestep.data.splits import Rows
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.embedding.tfidf import FittedTfidf, TfidfConfig, fit_tfidf
from sidestep.evaluation.evaluator import Evaluation, evaluate, fixed_users
from sidestep.recommender import Recommender
from sidestep.step import NO_ITEM, HistoryBatch
from sidestep.tokenizer.appending import append_last_codes
from sidestep.tokenizer.collisions import reassign_last_codes
from sidestep.tokenizer.residual_kmeans import ResidualKMeans, ResidualKMeansConfig
from sidestep.tokenizer.tokenizer import FittedTokenizer

K = 50
CUTOFFS = (10, 50)
NEW_PLACES = (0, 1, 2, 3, 5)


class NearestTexts(ItemScoreRecommender):
    """Ranks items by their likeness to the texts of the history; knows nobody's behaviour."""

    name = "nearest-texts"
    score_kind = "cosine"

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = torch.from_numpy(vectors)

    @property
    def num_items(self) -> int:
        """Items with a vector."""
        return len(self.vectors)

    def scores(self, histories: HistoryBatch) -> torch.Tensor:
        """Products with the sum of the history's vectors."""
        is_item = (histories.items != NO_ITEM)[..., None]
        return (self.vectors[histories.items.clamp(min=0)] * is_item).sum(1) @ self.vectors.T


def without(dataset: Dataset, item_ids: Sequence[str]) -> Dataset:
    """The data set in which these items do not exist."""
    gone = set(item_ids)
    kept = [item for item in dataset.items.item_ids if item not in gone]
    frame = dataset.interactions.frame
    return Dataset(
        interactions=Interactions(frame.filter(frame["item_id"].is_in(kept))),
        items=dataset.items.restricted_to(kept),
        name=dataset.name,
    )


def texts_of(dataset: Dataset) -> dict[str, list[str | None]]:
    """Every text column."""
    return {name: dataset.items.frame[name].to_list() for name in dataset.items.text_columns}


def trained(
    warm: Dataset, run: TransformerRun, sizes: tuple[int, ...], dim: int, folder: Path, seed: int
) -> tuple[LoadedRecommender, FittedTfidf, FittedTokenizer]:
    """The model that has never heard of the cold items, and what made their codes."""
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
    return load(folder, device="cpu"), tfidf, codebooks


def rows_of(loaded: LoadedRecommender, dataset: Dataset, rows: Rows) -> Rows:
    """Rows of a data set in the indices of a bundle, without items that it lacks."""
    names = np.array(dataset.items.item_ids, dtype=object)
    ids = {
        user: list(names[rows.histories.of(row)])
        for row, user in enumerate(rows.histories.user_ids)
    }
    histories, _ = Histories.from_item_ids(ids, loaded.catalog.indices_of)
    return Rows(histories=histories, targets=loaded.catalog.indices_of(list(names[rows.targets])))


def hit_rates(recommender: Recommender, rows: Rows, max_history: int) -> dict[str, float]:
    """HR at the cut-offs."""
    metrics = evaluated(recommender, rows, max_history).metrics
    return {f"HR@{k}": metrics[f"HR@{k}"] for k in CUTOFFS}


def with_places(loaded: LoadedRecommender, rows: Rows, max_history: int) -> dict[str, float]:
    """HR@10 of lists of ten, by the places that the cold items get."""
    rates = {}
    for num_places in NEW_PLACES:
        recommender = loaded.recommender(num_new_places=num_places)
        metrics = evaluate(recommender, rows, k=10, max_history=max_history).metrics
        rates[str(num_places)] = metrics["HR@10"]
    return rates


def evaluated(recommender: Recommender, rows: Rows, max_history: int) -> Evaluation:
    """The lists of all rows."""
    return evaluate(recommender, rows, k=K, max_history=max_history)


def measure(
    dataset: Dataset,
    run: TransformerRun,
    *,
    share: float,
    sizes: tuple[int, ...],
    dim: int,
    folder: Path,
    seed: int,
    num_users: int,
) -> dict[str, Any]:
    """All numbers of one data set."""
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
    by_row = {
        kind: append_items(old, new_ids, codes, texts=new_items.drop("item_id"), new_rows=kind)
        for kind in ("siblings", "zeros")
    }
    new = by_row["siblings"]

    test = split_of(dataset).test
    is_cold = np.isin(ids[test.targets], cold)
    cold_rows = rows_of(new, dataset, test.select(np.flatnonzero(is_cold)))
    warm_test = test.select(np.flatnonzero(~is_cold))
    warm_test = warm_test.select(fixed_users(len(warm_test), min(num_users, len(warm_test))))
    before, after = rows_of(old, dataset, warm_test), rows_of(new, dataset, warm_test)
    has_cold = before.histories.lengths != after.histories.lengths
    untouched = np.flatnonzero(~has_cold)
    depth = run.max_history

    texts = NearestTexts(
        tfidf.encode({name: new.catalog.texts.collect()[name].to_list() for name in tfidf.columns})
    )
    counts = np.concatenate([old.catalog.popularity, np.zeros(num_cold, dtype=np.int64)])
    warm_ids = new.catalog.ids_of(np.arange(old.catalog.num_items))
    lists_before = evaluated(old.recommender(), before, depth).items
    lists_after = evaluated(new.recommender(), after, depth).items
    limited = evaluated(new.recommender(available=warm_ids), after.select(untouched), depth).items
    is_free = (lists_after < old.catalog.num_items).all(1).numpy() & ~has_cold
    with_cold = np.flatnonzero(has_cold)
    return {
        "items": len(ids),
        "cold_items": num_cold,
        "moved_codes": int((codes != nearest).any(axis=1).sum()),
        "cold_rows": len(cold_rows),
        "warm_rows": len(warm_test),
        "warm_rows_with_cold_history": len(with_cold),
        "cold": {
            "model": hit_rates(new.recommender(), cold_rows, depth),
            "model, zero rows": hit_rates(by_row["zeros"].recommender(), cold_rows, depth),
            "nearest texts": hit_rates(texts, cold_rows, depth),
            "popularity": hit_rates(PopularityRecommender(counts), cold_rows, depth),
            "chance": {f"HR@{k}": k / len(ids) for k in CUTOFFS},
        },
        "cold, among the cold items": {
            "model": hit_rates(new.recommender(available=new_ids), cold_rows, depth),
            "chance": {f"HR@{k}": min(1.0, k / num_cold) for k in CUTOFFS},
        },
        "warm": {
            "before": hit_rates(old.recommender(), before, depth),
            "after": hit_rates(new.recommender(), after, depth),
        },
        "warm, cold items in the history": {
            "before": hit_rates(old.recommender(), before.select(with_cold), depth),
            "siblings": hit_rates(new.recommender(), after.select(with_cold), depth),
            "zeros": hit_rates(by_row["zeros"].recommender(), after.select(with_cold), depth),
        },
        "HR@10 by places for cold items": {
            "cold": with_places(new, cold_rows, depth),
            "warm": with_places(new, after, depth),
        },
        "share_of_cold_items_in_warm_lists": float(
            (lists_after >= old.catalog.num_items).float().mean()
        ),
        "same_lists_among_warm_items": float(
            (limited == lists_before[untouched]).all(1).float().mean()
        ),
        "rows_without_cold_items": int(is_free.sum()),
        "same_lists_without_cold_items": int(
            (lists_after[is_free] == lists_before[is_free]).all(1).sum()
        ),
    }


def main() -> None:
    """Prints the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source", choices=["lcrec", "synthetic"])
    parser.add_argument("data", type=Path, nargs="?", help="The folder of an LC-Rec data set.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--share", type=float, default=0.05, help="Of the items that are cold.")
    parser.add_argument("--codebook-sizes", type=int, nargs="+", default=[256, 256, 256])
    parser.add_argument("--dim", type=int, default=128, help="Of the text vectors.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, default=2000, help="Fixed warm test rows.")
    parser.add_argument("--work", type=Path, required=True, help="The run's folder.")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    run = read_config(asked.config, asked.settings)
    assert isinstance(run, TransformerRun)
    if asked.source == "lcrec":
        dataset = import_lcrec(*lcrec_files(asked.data))
    else:
        dataset, _ = synthetic_shop(SyntheticShopConfig(), asked.seed)
    result = measure(
        dataset,
        run,
        share=asked.share,
        sizes=tuple(asked.codebook_sizes),
        dim=asked.dim,
        folder=asked.work,
        seed=asked.seed,
        num_users=asked.users,
    )
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
    if asked.results is not None:
        with asked.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
