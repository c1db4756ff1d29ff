"""The demo: everything on an invented shop whose best possible result is known.

Not a pipeline as `sidestep run` has them, though its steps are the same: it compares with the
probabilities that made the data, searches one network in two ways, and explains itself on its page.
A pipeline would have to learn all three for the demo alone.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sidestep.baselines.item_scores import ItemScoreRecommender
from sidestep.bundle.folder import load
from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.global_time import strategy_in_words
from sidestep.data.own_split import fingerprint, split_of, strategy_of
from sidestep.data.synthetic import GroundTruth, SyntheticShopConfig, synthetic_shop
from sidestep.embedding.config import TfidfConfig
from sidestep.evaluation.compare import ComparedMethod, compare
from sidestep.evaluation.evaluator import Evaluation, evaluate
from sidestep.evaluation.results import PerUser, Setting, write_per_user
from sidestep.model.config import SasRecConfig, TransformerConfig
from sidestep.notices import note
from sidestep.runs.evaluation_page import write_evaluation_page
from sidestep.runs.evaluations import (
    LIST_LENGTH,
    Asked,
    evaluate_run,
    row_progress,
)
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.item_vectors import Sources, item_vectors
from sidestep.runs.kept_evaluations import save_evaluation
from sidestep.runs.kinds.graph import GraphRun
from sidestep.runs.kinds.popularity import PopularityRun
from sidestep.runs.kinds.sasrec import SasRecRun
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.runs.run_config import RunConfig
from sidestep.runs.searches import AskedSearch
from sidestep.runs.tokenizing import learned_catalog, tokenizer_config
from sidestep.runs.train import train_run
from sidestep.step import HistoryBatch
from sidestep.tokenizer.methods import DEFAULT_METHOD
from sidestep.training.config import TrainingConfig, ValidationConfig
from sidestep.training.objective_config import NextCodeConfig
from sidestep.training.progress import Progress

BEST_POSSIBLE = "best possible"

SEED = 0
MAX_HISTORY = 20

_VECTORS = "vectors.npy"


class BestPossible(ItemScoreRecommender):
    """Ranks by the probabilities that made the data: nothing can be better on average."""

    name = BEST_POSSIBLE
    score_kind = "prob"

    def __init__(self, truth: GroundTruth) -> None:
        self.truth = truth

    @property
    def num_items(self) -> int:
        """Items of the shop."""
        return len(self.truth.popularity)

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """The true probability of every item to be the next one."""
        return torch.from_numpy(self.truth.next_item_probs(histories))


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of a demo."""

    shop: SyntheticShopConfig
    text_dim: int
    codebook_sizes: tuple[int, ...]
    runs: Mapping[str, RunConfig]


def _unseen(title: str) -> AbstractContextManager[Callable[[Progress], None]]:
    """A context whose training is shown to nobody."""
    return nullcontext(lambda progress: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Functions that show how a demo goes on; by default sentences are notes.

    part: is given a sentence about every part of the demo.
    result: is given a sentence about what a part has made.
    training: is given the name of a run, and makes a context. The training happens within it, and
        tells its progress to the function that the context yields.
    """

    part: Callable[[str], None] = note
    result: Callable[[str], None] = note
    training: Callable[[str], AbstractContextManager[Callable[[Progress], None]]] = _unseen


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a demo."""

    methods: list[ComparedMethod]
    report: Path
    seconds: float


def run_demo(size: Size, out: Path, *, shown: Shown = Shown()) -> Outcome | None:
    """Runs the demo, or what is left of it, in a folder.

    Args:
        size: of the shop and of the networks.
        out: the folder.
        shown: shows how the demo goes on.

    Returns:
        The result; None where a training was interrupted, which the same call continues.

    Raises:
        ValueError: the folder holds something else.
    """
    start = time.perf_counter()
    shown.part("Inventing a shop")
    dataset, truth = synthetic_shop(size.shop, SEED)
    _refuse_other_contents(out, dataset)
    dataset = _kept(out / "dataset", dataset)
    stats = dataset.stats()
    shown.result(f"{stats.users:,} users, {stats.items:,} items, {stats.interactions:,} purchases")
    catalog = _catalog(size, dataset, out, shown)
    folders = {name: RunFolder(out / name) for name in size.runs}
    for name, config in size.runs.items():
        if isinstance(config, GraphRun):
            config = config.model_copy(update={"embeddings": str(out / _VECTORS)})
        if not _train(config, dataset, catalog, folders[name], out, shown):
            return None
    shown.part("Evaluating on the test purchases: the whole catalog is ranked, past items left out")
    evaluations = _evaluate(dataset, truth, folders, out)
    methods = compare([per_user for _, per_user in evaluations], reference="sasrec")
    report = out / "report.html"
    seconds = time.perf_counter() - start
    write_evaluation_page(
        report,
        evaluations,
        methods,
        reference="sasrec",
        dataset=dataset,
        worded=("sasrec", "transformer (item-beam)", BEST_POSSIBLE),
        title="Sidestep: a synthetic shop from texts to recommendations",
        facts={
            "Shop": f"{stats.users:,} users, {stats.items:,} items, "
            f"{stats.interactions:,} purchases",
            "Split": strategy_in_words(split_of(dataset).strategy),
            "Transformer": "one over semantic IDs with an item head: a plain beam, a beam that the "
            "head guides, and the head alone",
            "Best possible": "ranks by the probabilities that made the data",
            "Time": f"{seconds:.0f} s",
        },
    )
    return Outcome(methods=methods, report=report, seconds=seconds)


def _kept(folder: Path, dataset: Dataset) -> Dataset:
    """The dataset of the demo's folder, with the split that it may have been given; saved once."""
    if not folder.is_dir():
        dataset.save(folder)
    return Dataset.load(folder)


def _refuse_other_contents(out: Path, dataset: Dataset) -> None:
    """Raises a `ValueError` unless `out` is new, or holds this very demo."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    held = out / "dataset"
    if not (held / "dataset.json").is_file():
        raise ValueError(f"{out}: exists and is not a demo's folder; choose another with --out.")
    if fingerprint(replace(Dataset.load(held), split=None)) != fingerprint(dataset):
        raise ValueError(
            f"{out}: holds a demo of another size or version; choose another folder with --out, or "
            "delete this one."
        )


def _catalog(size: Size, dataset: Dataset, out: Path, shown: Shown) -> Catalog:
    """Embeds and tokenizes, unless an earlier call has."""
    path, vectors = out / "catalog", out / _VECTORS
    if path.is_dir():
        return Catalog.load(path, verify=True)
    shown.part("Turning texts into vectors, and vectors into semantic IDs")
    sources = Sources(columns=dataset.items.text_columns, text=TfidfConfig(dim=size.text_dim))
    made = item_vectors(dataset, sources, seed=SEED)
    made.save(vectors, dataset.items.item_ids)
    learned = learned_catalog(
        dataset,
        made.vectors,
        DEFAULT_METHOD,
        tokenizer_config(DEFAULT_METHOD, {"codebook_sizes": size.codebook_sizes}, made.vectors),
        collisions="reassign",
        seed=SEED,
        made_of=made.made_of,
    )
    learned.save(path, vectors=vectors)
    catalog = Catalog.load(path, verify=True)  # with the tokenizer that bundles carry along
    first = catalog.semantic_ids[0].tolist()
    shown.result(f"{catalog.texts_of(np.arange(1))['title'][0]} is {tuple(first)}")
    return catalog


def _train(
    config: RunConfig,
    dataset: Dataset,
    catalog: Catalog,
    folder: RunFolder,
    out: Path,
    shown: Shown,
) -> bool:
    """Trains a run, or goes on; whether the training came to its end."""
    shown.part(f"Training {folder.path.name}")
    info = RunInfo(dataset=str(out / "dataset"), catalog=str(out / "catalog"), seed=SEED)
    with shown.training(folder.path.name) as report:
        result = train_run(config, dataset, catalog, folder=folder, info=info, report=report)
    return result is None or result.stopped != "interrupted"


def _evaluate(
    dataset: Dataset, truth: GroundTruth, folders: Mapping[str, RunFolder], out: Path
) -> list[tuple[Path, PerUser]]:
    """Every method on all test rows: its per-user file, and what it holds."""
    # Nobody buys an item twice in this shop.
    asked = {
        "popularity": Asked(split="test", exclude_seen=True),
        "graph": Asked(split="test", exclude_seen=True),
        "sasrec": Asked(split="test", exclude_seen=True),
        **{
            f"transformer, {name}": Asked(
                split="test", search=AskedSearch(name=name), exclude_seen=True
            )
            for name in ("beam", "item-beam", "item-head")
        },
    }
    evaluations = []
    for label, how in asked.items():
        folder = folders[label.partition(",")[0]]
        with row_progress(label) as progress:
            evaluation, per_user = evaluate_run(
                load(folder.path), dataset, how, catalog_name="catalog", progress=progress
            )
        file = save_evaluation(folder, evaluation, per_user, batch_size=how.batch_size)
        evaluations.append((file, per_user))
    test = split_of(dataset).test
    best = evaluate(BestPossible(truth), test, k=LIST_LENGTH, exclude_seen=True)
    file, per_user = out / "best-possible.parquet", _best_per_user(best, dataset)
    write_per_user(file, per_user)
    return [*evaluations, (file, per_user)]


def _best_per_user(best: Evaluation, dataset: Dataset) -> PerUser:
    """The best possible as a run, although no results file knows such a method."""
    return PerUser(
        dataset=dataset.name,
        method=BEST_POSSIBLE,
        split="test",
        seed=SEED,
        setting=Setting(
            search=None,
            beams=None,
            k_plus=None,
            budget=None,
            history=None,
            codes=None,
            exclude_seen=True,
            users="all",
            strategy=strategy_of(split_of(dataset)),
        ),
        k=best.items.shape[1],
        user_ids=best.user_ids,
        targets=best.targets.numpy(),
        rank_before=best.rank_before.numpy(),
        num_tied=best.num_tied.numpy(),
        items=best.items.numpy(),
    )


FULL = Size(
    shop=SyntheticShopConfig(),
    text_dim=64,
    codebook_sizes=(32, 32, 32),
    runs={
        "popularity": PopularityRun(kind="popularity", max_history=MAX_HISTORY),
        "graph": GraphRun(kind="graph"),
        "sasrec": SasRecRun(
            kind="sasrec",
            max_history=MAX_HISTORY,
            model=SasRecConfig(dim=64, max_items=MAX_HISTORY, repeat_bias=True),
            training=TrainingConfig(
                epochs=30, batch_size=64, learning_rate=2e-3, weight_decay=0.01, validate_every=3
            ),
        ),
        "transformer": TransformerRun(
            kind="transformer",
            max_history=MAX_HISTORY,
            model=TransformerConfig(
                dim=64,
                num_layers=2,
                history="items",
                item_embedding=True,
                item_head=True,
                tied_item_head=True,
                repeat_bias=True,
                dropout=0.3,
            ),
            objective=NextCodeConfig(item_weight=1.0, distillation_weight=2.0),
            training=TrainingConfig(
                epochs=30, batch_size=64, learning_rate=3e-3, weight_decay=0.01, validate_every=3
            ),
        ),
    },
)
"""About a minute on two cores."""

QUICK = Size(
    shop=SyntheticShopConfig(num_users=150, num_departments=2, items_per_kind=8),
    text_dim=16,
    codebook_sizes=(8, 8, 8),
    runs={
        "popularity": PopularityRun(kind="popularity", max_history=MAX_HISTORY),
        "graph": GraphRun(kind="graph"),
        "sasrec": SasRecRun(
            kind="sasrec",
            max_history=MAX_HISTORY,
            model=SasRecConfig(dim=16, num_layers=1, max_items=MAX_HISTORY),
            training=TrainingConfig(epochs=2, batch_size=64),
        ),
        "transformer": TransformerRun(
            kind="transformer",
            max_history=MAX_HISTORY,
            model=TransformerConfig(
                dim=16,
                num_layers=1,
                num_heads=2,
                history="items",
                item_head=True,
                tied_item_head=True,
                repeat_bias=True,
            ),
            objective=NextCodeConfig(item_weight=1.0, distillation_weight=2.0),
            training=TrainingConfig(epochs=2, batch_size=64),
            validation=ValidationConfig(num_users=50, num_beams=10),
        ),
    },
)
"""A few seconds."""
