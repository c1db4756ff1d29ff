r"""Beyond the item head: cold items, diverse lists, and lists that are worth more.

On a small catalog, the item head of a network ranks all items as well as any search. This benchmark
asks where searches and alignment beat the head and a re-ranking of the head's list. Each part adds
one line per recommender to the file of --results, with the cost in milliseconds and FLOPs. The
lists of all users stay in --work. So each line holds paired tests against the first recommender.

    python benchmarks/beyond_the_head.py worths runs/scientific/dataset --out runs/beyond/margin.csv
    python benchmarks/beyond_the_head.py cold-data DATA/scientific --out runs/cold
    python benchmarks/beyond_the_head.py cold runs/cold --runs runs/cold/tied-0 runs/cold/tree-0 \
        --work runs/beyond --results benchmarks/results/beyond.jsonl
    python benchmarks/beyond_the_head.py diversity runs/scientific/dataset \
        --runs runs/scientific/tied-0 runs/scientific/tree-0 --vectors runs/scientific/vectors.npy \
        --work runs/beyond --results benchmarks/results/beyond.jsonl
    python benchmarks/beyond_the_head.py worth runs/scientific/dataset \
        --table runs/beyond/margin.csv \
        --runs runs/scientific/tied-0 runs/scientific/tree-0 runs/beyond/margin-optimum \
        --work runs/beyond --results benchmarks/results/beyond.jsonl

The first run has a tied item head; the others are searched by a plain beam. The runs of --beside
score every item without codes, such as SASRec and the transition graph. Of `cold`, they are SASRecs
with `model.code_embedding`, and the transition graph is fitted by the benchmark. A killed part
continues when the same command is given again: lines that the file has are skipped.
"""

import argparse
import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cold_start import NearestTexts, rows_of, without
from result_line import add_results_option
from sidestep.baselines.item_scores import PopularityRecommender
from sidestep.baselines.reranked import LabelPenalty, MarginalRelevance, Reranked, Reranking, Tilt
from sidestep.baselines.transition_graph import TransitionGraph
from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.data.dataset import Dataset
from sidestep.data.importers.item_numbers import read_item_numbers
from sidestep.data.importers.lcrec import import_lcrec, lcrec_files
from sidestep.data.items import ItemTable
from sidestep.data.own_split import split_of
from sidestep.data.splits import Rows
from sidestep.evaluation.evaluator import Evaluation, evaluate, fixed_users
from sidestep.evaluation.target_metrics import per_user_metrics
from sidestep.metrics.popularity import concentration
from sidestep.metrics.ranking import coverage
from sidestep.metrics.statistics import bootstrap_interval, paired_permutation_test
from sidestep.metrics.variety import distinct_labels, intra_list_distance, label_entropy_bits
from sidestep.recommender import (
    ExcludingRecommender,
    Recommendations,
    Recommender,
    ReservedPlaces,
)
from sidestep.runs.appending import append_table
from sidestep.runs.catalogs import popularity_of
from sidestep.runs.environment import command_line, git_commit, machine
from sidestep.runs.kinds.graph import GraphRun
from sidestep.runs.text_embedding import new_vectors
from sidestep.search.beam import BeamSearch
from sidestep.search.diverse_beam import DiverseBeamSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_ranking import ItemRanking
from sidestep.search.item_support import HasItemHead, ItemSupport
from sidestep.search.policy import SearchPolicy
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance
from sidestep.search.tilted_head import TiltedItemHead
from sidestep.step import HistoryBatch
from sidestep.tokenizer.kept import KeptTokenizer

K = 50
LISTED = 10
GUIDED_LIKELIHOOD = 0.5
TILTS = (0.0, 0.5, 1.0, 1.5)
HEAD_TILTS = (0.0, 0.5, 1.0, 1.25, 1.5, 2.0)
MMR_WEIGHTS = (0.5, 1.0, 2.0, 4.0, 8.0)
PENALTIES = (0.1, 0.2, 0.4, 0.8, 1.6)
TEMPERATURES = (1.0, 1.5, 2.0)
BONUSES = (0.5, 1.0, 1.5, 2.0, 3.0)
PLACES = (1, 2)
RIDGE = 1.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A recommender that is measured.

    method: its name in the results.
    setting: what tells it from others of the method.
    make: makes the recommender.
    k: the length of its lists.
    """

    method: str
    make: Callable[[], Recommender]
    setting: Mapping[str, Any] = field(default_factory=dict)
    k: int = K


@dataclass(frozen=True, kw_only=True)
class Lists:
    """The lists of all rows, and what they cost."""

    items: Int[np.ndarray, "rows k"]
    rank_before: Int[np.ndarray, " rows"]
    num_tied: Int[np.ndarray, " rows"]
    cost: Mapping[str, float | None]
    k: int

    @staticmethod
    def of(found: Evaluation, k: int) -> "Lists":
        """The lists of an evaluation."""
        return Lists(
            items=found.items.numpy(),
            rank_before=found.rank_before.numpy(),
            num_tied=found.num_tied.numpy(),
            cost={
                "ms_per_user": round(found.ms_per_user, 3),
                "mflops_per_user": None
                if found.flops_per_user is None
                else round(found.flops_per_user / 1e6, 2),
                "tokens_per_user": found.tokens_per_user,
            },
            k=k,
        )

    def save(self, file: Path) -> None:
        """Writes the lists, so that a later command need not search again."""
        np.savez(
            file,
            items=self.items,
            rank_before=self.rank_before,
            num_tied=self.num_tied,
            cost=json.dumps(self.cost),
            k=self.k,
        )

    @staticmethod
    def load(file: Path) -> "Lists":
        """The lists that `save` wrote."""
        with np.load(file) as kept:
            return Lists(
                items=kept["items"],
                rank_before=kept["rank_before"],
                num_tied=kept["num_tied"],
                cost=json.loads(str(kept["cost"])),
                k=int(kept["k"]),
            )

    def targets_found(self) -> dict[str, Float[np.ndarray, " rows"]]:
        """Metrics of the targets, per row."""
        return per_user_metrics(self.rank_before, self.num_tied, self.k)


class Part:
    """One part of the benchmark: it measures recommenders on rows, and writes their lines."""

    def __init__(self, name: str, dataset: str, *, work: Path, results: Path | None) -> None:
        self.name, self.dataset = name, dataset
        self.work, self.results = work / name, results
        self.work.mkdir(parents=True, exist_ok=True)

    def lists(self, asked: Asked, rows: Rows, where: str) -> Lists:
        """The lists of a recommender; those of an earlier command if there are any."""
        file = self.work / f"{where}-{_slug(asked)}.npz"
        if not file.is_file():
            Lists.of(evaluate(asked.make(), rows, k=asked.k), asked.k).save(file)
        return Lists.load(file)

    def write(self, asked: Asked, measured: Mapping[str, Any]) -> None:
        """Appends a line unless the file has one of this recommender."""
        key = {"part": self.name, "method": asked.method, "setting": dict(asked.setting)}
        line = json.dumps(
            {
                "benchmark": "beyond_the_head",
                "dataset": self.dataset,
                **key,
                **measured,
                "threads": torch.get_num_threads(),
                "command": f"python benchmarks/{command_line()}",
                "commit": git_commit(),
                "date": date.today().isoformat(),
                "machine": machine(),
            }
        )
        print(line, flush=True)
        if self.results is None:
            return
        known = self.results.read_text("utf-8").splitlines() if self.results.is_file() else []
        if not any(key.items() <= json.loads(other).items() for other in known):
            with self.results.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _slug(asked: Asked) -> str:
    return "-".join([asked.method, *(f"{name}={value}" for name, value in asked.setting.items())])


def tested(
    values: Float[np.ndarray, " rows"], against: Float[np.ndarray, " rows"]
) -> dict[str, float]:
    """A mean with its interval, and its paired test against another recommender."""
    interval = bootstrap_interval(values, seed=0)
    return {
        "mean": float(values.mean()),
        "low": interval.low,
        "high": interval.high,
        **compared(values, against),
    }


def compared(
    values: Float[np.ndarray, " rows"], against: Float[np.ndarray, " rows"]
) -> dict[str, float]:
    """The paired test of a mean against that of another recommender."""
    test = paired_permutation_test(values, against, seed=0)
    return {"difference": test.difference, "p_value": test.p_value}


def head_of(loaded: LoadedRecommender) -> HasItemHead:
    """The item head of a run.

    Raises:
        ValueError: it has none.
    """
    if loaded.item_scorer is None:
        raise ValueError(f"{loaded.kind}: the first of --runs needs an item head.")
    return loaded.item_scorer


def guided(head: HasItemHead) -> GuidedBeamSearch:
    """A beam guided by an item head, tilted or not."""
    guidance = Guidance(scorer=ItemSupport(head=head), likelihood_weight=GUIDED_LIKELIHOOD)
    return GuidedBeamSearch(guidance=guidance, num_beams=K, candidates=4 * K, name="item-beam")


class Remembered:
    """A recommender that searches once for each batch and keeps the answer for re-rankings."""

    def __init__(self, inner: ExcludingRecommender) -> None:
        self.inner, self.name, self.num_items = inner, inner.name, inner.num_items
        self.leaf_of = inner.leaf_of
        self._known: dict[bytes, Recommendations] = {}

    def recommend(
        self,
        histories: HistoryBatch,
        k: int,
        *,
        exclude_seen: bool = False,
        excluded: Tensor | None = None,
    ) -> Recommendations:
        """See `Recommender.recommend`; k and what is excluded never change here."""
        del exclude_seen, excluded
        key = histories.items.numpy().tobytes() + histories.lengths.numpy().tobytes()
        if key not in self._known:
            self._known[key] = self.inner.recommend(histories, k)
        return self._known[key]


def reranked(inner: ExcludingRecommender, rule: Reranking) -> Callable[[], Recommender]:
    """Makes the recommender of an order of the first 50 items."""
    return lambda: Reranked(inner, rule, pool_size=K)


def loaded_beside(asked: argparse.Namespace) -> dict[str, LoadedRecommender]:
    """The runs of --beside, by name.

    Raises:
        ValueError: one of them searches codes.
    """
    beside = {run.name: load(run, device="cpu") for run in asked.beside}
    for name, loaded in beside.items():
        if loaded.is_searched:
            raise ValueError(f"{name} searches codes; give it with --runs.")
    return beside


def searched(loaded: LoadedRecommender, search: SearchPolicy) -> Callable[[], Recommender]:
    """Makes the recommender of a run and a search."""
    return lambda: loaded.recommender(search)


# Worths


def categories_of(items: ItemTable) -> Int[np.ndarray, " items"]:
    """The number of the second level of each item's categories; -1 where there is none."""
    second = items.frame["categories"].str.split(",").list.get(1, null_on_oob=True)
    numbers = second.str.strip_chars().rank("dense").cast(pl.Int64).fill_null(0) - 1
    found: np.ndarray = numbers.to_numpy()
    return found


def margins(items: ItemTable, seed: int) -> Float[np.ndarray, " items"]:
    """Made margins: log-normal by item, and half of the variance by category; 1 on average.

    log margin = √.5 · (a + b) with a, b ~ N(0, 1), a by the item's category and b by the item.
    """
    generator = np.random.default_rng(seed)
    categories = categories_of(items)
    by_category = generator.normal(size=categories.max() + 2)[categories]
    logs = 0.5**0.5 * (by_category + generator.normal(size=len(items)))
    worths = np.exp(logs)
    return worths / worths.mean()


def novelties(counts: Int[np.ndarray, " items"]) -> Float[np.ndarray, " items"]:
    """-log2 of each item's share of the interactions in training, plus one each; 1 on average."""
    bits = -np.log2((counts + 1) / (counts + 1).sum())
    return bits / bits.mean()


def write_worths(asked: argparse.Namespace) -> None:
    """Writes a table of made worths."""
    dataset = Dataset.load(asked.dataset)
    if asked.kind == "margin":
        worths = margins(dataset.items, asked.seed)
    else:
        worths = novelties(popularity_of(split_of(dataset), len(dataset.items)))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"item_id": dataset.items.item_ids, "worth": worths}).write_csv(asked.out)


def worth_methods(
    runs: Mapping[str, LoadedRecommender],
    beside: Mapping[str, LoadedRecommender],
    log_worths: Tensor,
) -> Iterator[list[Asked]]:
    """Every method, as one recommender per weight of the worth."""
    first, *others = runs
    tied = runs[first]
    head = head_of(tied)

    def asked(method: str, weight: float, make: Callable[[], Recommender]) -> Asked:
        return Asked(method=method, setting={"tilt": weight}, make=make)

    def tilted(weight: float) -> TiltedItemHead:
        return TiltedItemHead(head=head, log_worths=log_worths, weight=weight)

    yield [
        asked("item-head", weight, searched(tied, ItemRanking(head=tilted(weight), num_leaves=K)))
        for weight in HEAD_TILTS
    ]
    for name in others:
        beam = Remembered(runs[name].recommender(BeamSearch(num_beams=K)))
        yield [
            asked(
                f"beam-{name}", weight, reranked(beam, Tilt(log_worths=log_worths, weight=weight))
            )
            for weight in TILTS
        ]
    yield [asked("item-beam", weight, searched(tied, guided(tilted(weight)))) for weight in TILTS]
    for name, loaded in beside.items():
        whole = Remembered(loaded.recommender())
        yield [
            asked(name, weight, reranked(whole, Tilt(log_worths=log_worths, weight=weight)))
            for weight in TILTS
        ]


def measure_worth(asked: argparse.Namespace) -> None:
    """Lists that are worth something: hits count as much as the item is worth."""
    dataset = Dataset.load(asked.dataset)
    worths = read_item_numbers(asked.table, dataset.items.item_ids)
    log_worths = torch.from_numpy(np.log(worths)).float()
    runs = {run.name: load(run, device="cpu") for run in asked.runs}
    split = split_of(dataset)
    chosen_on = split.validation.select(fixed_users(len(split.validation), asked.choice_users))
    rows = split.test.select(fixed_users(len(split.test), asked.users))
    part = Part(f"worth-{asked.table.stem}", dataset.name, work=asked.work, results=asked.results)

    def values(lists: Lists, rows: Rows, k: int = LISTED) -> Float[np.ndarray, " rows"]:
        return worths[rows.targets] * lists.targets_found()[f"HR@{k}"]

    references: dict[float, dict[str, Float[np.ndarray, " rows"]]] = {}
    for settings in worth_methods(runs, loaded_beside(asked), log_worths):
        on_validation = [
            float(values(part.lists(each, chosen_on, "validation"), chosen_on).mean())
            for each in settings
        ]
        best = int(np.argmax(on_validation))
        is_head = settings[0].method == "item-head"
        for number, each in enumerate(settings):
            tilt = each.setting["tilt"]
            # A tilt of 1 is expected worth.
            if not (is_head or number == best or tilt in (0.0, 1.0)):
                continue
            lists = part.lists(each, rows, "test")
            found = lists.targets_found()
            of_targets = {name: found[name] for name in ("NDCG@10", "HR@10", "HR@50")}
            own = {"value@10": values(lists, rows), "value@50": values(lists, rows, K)}
            own |= of_targets
            if is_head:
                references[tilt] = own
            part.write(
                each,
                {
                    "rows": len(rows),
                    "selected": number == best,
                    "value@10 on validation": on_validation[number],
                    "worth of the first ten": float(
                        worths[lists.items[:, :LISTED].clip(min=0)].mean()
                    ),
                    "metrics": {name: tested(own[name], references[0.0][name]) for name in own},
                    "reference": "item-head, tilt 0",
                    "against item-head": {
                        f"tilt {known}": {
                            name: compared(own[name], theirs[name])
                            for name in ("value@10", "value@50", "NDCG@10")
                        }
                        for known, theirs in references.items()
                        if known >= 1.0 and not is_head
                    },
                    "cost": part.lists(settings[0], rows, "test").cost,
                },
            )


# Diversity


def measure_diversity(asked: argparse.Namespace) -> None:
    """Diversity: the variety of lists of ten, beside how well they rank."""
    dataset = Dataset.load(asked.dataset)
    runs = {run.name: load(run, device="cpu") for run in asked.runs}
    split = split_of(dataset)
    rows = split.test.select(fixed_users(len(split.test), asked.users))
    vectors = torch.from_numpy(np.load(asked.vectors)).float()
    tied = next(iter(runs.values()))
    judged = Variety.of(dataset, tied, vectors)
    part = Part("diversity", dataset.name, work=asked.work, results=asked.results)
    reference = None
    for each in diverse_methods(runs, loaded_beside(asked), vectors):
        lists = part.lists(each, rows, "test")
        found = lists.targets_found()
        own = {"NDCG@10": found["NDCG@10"], "HR@10": found["HR@10"]}
        reference = reference or own
        part.write(
            each,
            {
                "rows": len(rows),
                "metrics": {name: tested(own[name], reference[name]) for name in own},
                "reference": "item-head",
                "variety": judged.measured(lists.items[:, :LISTED]),
                # A remembered list takes no time, and its search was timed alone.
                "cost": {**lists.cost, **({"ms_per_user": None} if "+" in each.method else {})},
            },
        )


@dataclass(frozen=True, kw_only=True)
class Variety:
    """The facts about items by which the variety of lists is judged."""

    codes: Tensor
    categories: Tensor
    vectors: Tensor
    counts: Int[np.ndarray, " items"]

    @staticmethod
    def of(dataset: Dataset, loaded: LoadedRecommender, vectors: Tensor) -> "Variety":
        """The facts of a dataset and of the catalog of a run."""
        return Variety(
            codes=loaded.catalog.semantic_ids[:, 0].long(),
            categories=torch.from_numpy(categories_of(dataset.items)),
            vectors=vectors,
            counts=popularity_of(split_of(dataset), len(dataset.items)),
        )

    def measured(self, listed: Int[np.ndarray, "rows k"]) -> dict[str, float]:
        """Means over the lists, and what all lists hold together."""
        items = torch.from_numpy(listed)
        at = items.clamp(min=0)

        def labels(of_items: Tensor) -> Tensor:
            return of_items[at].masked_fill(items < 0, -1)

        num_items = len(self.counts)
        return {
            "first codes": float(distinct_labels(labels(self.codes)).double().mean()),
            "categories": float(distinct_labels(labels(self.categories)).double().mean()),
            "category entropy": float(label_entropy_bits(labels(self.categories)).mean()),
            "distance": float(intra_list_distance(items, self.vectors).nanmean()),
            "coverage": coverage(items, num_items),
            "gini": concentration(items, num_items),
            "popularity": float(self.counts[listed[listed >= 0]].mean()),
        }


def diverse_methods(
    runs: Mapping[str, LoadedRecommender],
    beside: Mapping[str, LoadedRecommender],
    vectors: Tensor,
) -> Iterator[Asked]:
    """The head, the beams and what stands beside them, as they are and made to differ."""
    first, *others = runs
    tied = runs[first]
    codes = tied.catalog.semantic_ids[:, 0].long()
    head = tied.recommender(ItemRanking(head=head_of(tied), num_leaves=K))
    plain: dict[str, Any] = {"item-head": head}
    for name in others:
        plain[f"beam-{name}"] = Remembered(runs[name].recommender(BeamSearch(num_beams=K)))
    for name, loaded in beside.items():
        plain[name] = Remembered(loaded.recommender())
    for name, inner in plain.items():
        yield Asked(method=name, make=as_it_is(inner))
        for weight in MMR_WEIGHTS:
            rule = MarginalRelevance(vectors=vectors, weight=weight)
            setting = {"weight": weight}
            yield Asked(method=f"{name}+mmr", setting=setting, make=reranked(inner, rule), k=LISTED)
        for penalty in PENALTIES:
            yield Asked(
                method=f"{name}+penalty",
                setting={"penalty": penalty},
                make=reranked(inner, LabelPenalty(labels=codes, penalty=penalty)),
                k=LISTED,
            )
    for name in others:
        narrow = BeamSearch(num_beams=LISTED)
        yield Asked(
            method=f"beam-{name}",
            setting={"beams": LISTED},
            make=searched(runs[name], narrow),
            k=LISTED,
        )
        for width, penalties in ((LISTED, PENALTIES), (K, PENALTIES[1:4])):
            for penalty in penalties:
                search = DiverseBeamSearch(num_beams=width, candidates=4 * width, penalty=penalty)
                yield Asked(
                    method=f"diverse-beam-{name}",
                    setting={"beams": width, "penalty": penalty},
                    make=searched(runs[name], search),
                    k=LISTED,
                )
        for temperature in TEMPERATURES:
            drawn = Sampling(num_samples=LISTED, temperature=temperature)
            yield Asked(
                method=f"sampling-{name}",
                setting={"samples": LISTED, "temperature": temperature},
                make=searched(runs[name], drawn),
                k=LISTED,
            )


def as_it_is(recommender: Recommender) -> Callable[[], Recommender]:
    """Makes nothing new."""
    return lambda: recommender


# Cold items


def write_cold_data(asked: argparse.Namespace) -> None:
    """Writes a data set without a random share of its items, and these items as a table."""
    dataset = replace(import_lcrec(*lcrec_files(asked.data)), name=asked.data.name)
    ids = np.array(dataset.items.item_ids, dtype=object)
    generator = np.random.default_rng(asked.seed)
    cold = ids[np.sort(generator.choice(len(ids), round(asked.share * len(ids)), replace=False))]
    without(dataset, list(cold)).save(asked.out / "dataset")
    dataset.save(asked.out / "whole")
    items = dataset.items.frame
    items.filter(items["item_id"].is_in(list(cold))).write_parquet(asked.out / "cold.parquet")


@dataclass(frozen=True, kw_only=True)
class Grown:
    """A run before and after the cold items were appended, by the rows that these got.

    old: the run without the cold items.
    by_rows: the run with them, by how their vectors were made.
    """

    old: LoadedRecommender
    by_rows: Mapping[str, LoadedRecommender]

    @staticmethod
    def of(run: Path, cold: ItemTable) -> "Grown":
        """A run, its cold items appended by their texts."""
        old = load(run, device="cpu")
        folder = run / "bundle" / "catalog"
        grown = append_table(old, cold, folder=folder).grown
        return Grown(
            old=old,
            by_rows={
                "siblings": grown,
                "code sums": with_new_rows(grown, lambda rows, _: torch.zeros_like(rows)),
                "texts": with_new_rows(grown, regressed(text_vectors(grown, folder))),
            },
        )


def text_vectors(loaded: LoadedRecommender, folder: Path) -> Float[np.ndarray, "items dim"]:
    """The vectors of all items from their texts, as those of the catalog in `folder` were made."""
    made_of = KeptTokenizer.load(folder).record.made_of
    texts = loaded.catalog.texts.collect()
    frame = texts.insert_column(0, pl.Series("item_id", loaded.catalog.item_ids))
    return new_vectors(folder, made_of, ItemTable(frame))


NewRowsOf = Callable[[Tensor, Tensor], Tensor]
"""The rows of new items, from those that they have and from the rows of the old items."""


def regressed(vectors: Float[np.ndarray, "items dim"]) -> NewRowsOf:
    """Rows of new items by ridge regression of the rows of the old items on text vectors."""

    def rows_of_new(new: Tensor, old: Tensor) -> Tensor:
        known = torch.from_numpy(vectors[: len(old)]).double()
        mean = old.double().mean(dim=0)
        gram = known.T @ known + RIDGE * torch.eye(known.shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(gram, known.T @ (old.double() - mean))
        asked = torch.from_numpy(vectors[len(old) :]).double()
        return (asked @ weights + mean).to(new.dtype)

    return rows_of_new


def with_new_rows(loaded: LoadedRecommender, rows_of_new: NewRowsOf) -> LoadedRecommender:
    """A copy of a run whose new items have other vectors of their own."""
    network = copy.deepcopy(loaded.network)
    table = network.item_embedding.weight  # type: ignore[union-attr]
    first = loaded.catalog.num_items - loaded.num_new_items
    with torch.no_grad():
        table[first:] = rows_of_new(table[first:], table[:first])
    return replace(loaded, network=network)


def cold_methods(
    grown: Mapping[str, Grown],
    beside: Mapping[str, Grown],
    graph: TransitionGraph,
    texts: NearestTexts,
    counts: Int[np.ndarray, " items"],
) -> Iterator[Asked]:
    """Every way to recommend among old and cold items; the first run has the item head."""
    first, *others = grown
    yield Asked(method="item-head", make=plain_of(grown[first].old, "item-head"))
    for rows, loaded in grown[first].by_rows.items():
        searches = ("item-head",) if rows == "texts" else ("item-head", "item-beam", "beam")
        for search in searches:
            yield Asked(method=search, setting={"rows": rows}, make=plain_of(loaded, search))
        for places in PLACES:
            yield Asked(
                method="item-head",
                setting={"rows": rows, "places": places},
                make=with_places(loaded, "item-head", places),
                k=LISTED,
            )
        for bonus in BONUSES:
            yield Asked(
                method="item-head",
                setting={"rows": rows, "bonus": bonus},
                make=with_bonus(loaded, bonus),
            )
    for name in others:
        yield Asked(method=f"beam-{name}", make=plain_of(grown[name].old, "beam"))
        for rows in ("siblings", "code sums"):
            loaded = grown[name].by_rows[rows]
            yield Asked(
                method=f"beam-{name}", setting={"rows": rows}, make=plain_of(loaded, "beam")
            )
            for places in PLACES:
                yield Asked(
                    method=f"beam-{name}",
                    setting={"rows": rows, "places": places},
                    make=with_places(loaded, "beam", places),
                    k=LISTED,
                )
    grown_items = grown[first].by_rows["siblings"]
    for name, other in beside.items():
        yield Asked(method=name, make=other.old.recommender)
        for rows in ("siblings", "code sums"):
            yield Asked(method=name, setting={"rows": rows}, make=other.by_rows[rows].recommender)
    yield Asked(method=graph.name, setting={"rows": "texts"}, make=as_it_is(graph))
    yield Asked(method="nearest-texts", make=as_it_is(texts))
    for places in PLACES:
        yield Asked(
            method="item-head",
            setting={"places": places, "of": "nearest-texts"},
            make=lambda places=places: ReservedPlaces(  # type: ignore[misc]
                plain_of(grown_items, "item-head")(),
                among_new(texts, grown_items),
                num_places=places,
            ),
            k=LISTED,
        )
    yield Asked(method="popularity", make=lambda: PopularityRecommender(counts))


def search_of(loaded: LoadedRecommender, name: str) -> SearchPolicy:
    """One of the three searches of this part, on the network of a run."""
    if name == "beam":
        return BeamSearch(num_beams=K)
    head = head_of(loaded)
    return ItemRanking(head=head, num_leaves=K) if name == "item-head" else guided(head)


def plain_of(loaded: LoadedRecommender, search: str) -> Callable[[], Recommender]:
    """Makes the recommender of a run and one of the searches."""
    return lambda: loaded.recommender(search_of(loaded, search))


def with_places(
    loaded: LoadedRecommender, search: str, num_places: int
) -> Callable[[], Recommender]:
    """Makes lists of which some places are for new items."""
    return lambda: loaded.recommender(search_of(loaded, search), num_new_places=num_places)


def with_bonus(loaded: LoadedRecommender, bonus: float) -> Callable[[], Recommender]:
    """Makes lists of an item head that adds a number to the score of every new item."""
    added = torch.zeros(loaded.catalog.num_items)
    added[loaded.catalog.num_items - loaded.num_new_items :] = bonus
    head = TiltedItemHead(head=head_of(loaded), log_worths=added)
    return searched(loaded, ItemRanking(head=head, num_leaves=K))


def among_new(texts: NearestTexts, loaded: LoadedRecommender) -> NearestTexts:
    """The nearest texts, among the new items."""
    own = copy.copy(texts)
    own.is_available = torch.arange(texts.num_items) >= texts.num_items - loaded.num_new_items
    return own


def measure_cold(asked: argparse.Namespace) -> None:
    """Cold items among all others: rows whose target is cold, and the price for other rows."""
    dataset = Dataset.load(asked.home / "whole")
    cold = ItemTable(pl.read_parquet(asked.home / "cold.parquet"))
    grown = {run.name: Grown.of(run, cold) for run in asked.runs}
    one = next(iter(grown.values())).by_rows["siblings"]
    folder = asked.runs[0] / "bundle" / "catalog"
    vectors = text_vectors(one, folder)
    texts = NearestTexts(vectors, max_history=one.max_history or K)
    before = split_of(Dataset.load(asked.home / "dataset"))
    graph = GraphRun().fitted(before.train.histories, one.catalog.num_items, vectors)
    counts = np.concatenate([one.catalog.popularity[: -len(cold)], np.zeros(len(cold), np.int64)])
    split = split_of(dataset)
    ids = np.array(dataset.items.item_ids, dtype=object)
    part = Part("cold", dataset.name, work=asked.work, results=asked.results)

    is_cold = np.isin(ids[split.test.targets], cold.item_ids)
    warm = split.test.select(np.flatnonzero(~is_cold))
    rows = {
        "cold": split.test.select(np.flatnonzero(is_cold)),
        "warm": warm.select(fixed_users(len(warm), min(asked.users, len(warm)))),
    }
    shares = {"cold": is_cold.mean(), "warm": 1 - is_cold.mean()}
    on_validation = split.validation.select(fixed_users(len(split.validation), asked.users))
    references: dict[str, dict[str, Float[np.ndarray, " rows"]]] = {}
    beside = {run.name: Grown.of(run, cold) for run in asked.beside}
    for each in cold_methods(grown, beside, graph, texts, counts):
        is_old = not each.setting and each.method not in (texts.name, "popularity")
        measured: dict[str, Any] = {}
        for where, some in rows.items():
            if is_old and where == "cold":
                continue  # a run that lacks the items cannot be asked for them
            loaded = next(iter(grown.values())).old if is_old else one
            lists = part.lists(each, rows_of(loaded, dataset, some), where)
            own = {
                name: values
                for name, values in lists.targets_found().items()
                if name in ("HR@10", "NDCG@10", "HR@50")
            }
            against = references.setdefault(where, own)
            measured[where] = {
                "rows": len(some),
                "metrics": {name: tested(own[name], against[name]) for name in own},
                "cold items in the first ten": float(
                    (lists.items[:, :LISTED] >= one.catalog.num_items - len(cold)).mean()
                ),
                "cost": lists.cost,
            }
        if not is_old:
            measured["all rows"] = {
                name: sum(
                    shares[where] * measured[where]["metrics"][name]["mean"] for where in rows
                )
                for name in ("HR@10", "NDCG@10")
            }
        if "bonus" in each.setting or "places" in each.setting:
            lists = part.lists(each, rows_of(one, dataset, on_validation), "validation")
            found = lists.targets_found()
            measured["validation"] = {
                name: float(found[name].mean()) for name in ("HR@10", "NDCG@10")
            }
        part.write(each, measured)


def main() -> None:
    """Runs one part of the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = parser.add_subparsers(required=True, metavar="PART")

    made = parts.add_parser("worths", help="writes a table of made worths")
    made.add_argument("dataset", type=Path)
    made.add_argument("--kind", choices=["margin", "novelty"], default="margin")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", type=Path, required=True)
    made.set_defaults(work_of=write_worths)

    data = parts.add_parser("cold-data", help="writes a data set without a share of its items")
    data.add_argument("data", type=Path, help="the folder of an LC-Rec data set")
    data.add_argument("--share", type=float, default=0.05)
    data.add_argument("--seed", type=int, default=0)
    data.add_argument("--out", type=Path, required=True)
    data.set_defaults(work_of=write_cold_data)

    cold = parts.add_parser("cold", help="measures runs that were trained without cold items")
    cold.add_argument("home", type=Path, help="the folder of cold-data")
    diverse = parts.add_parser("diversity", help="measures rankings against variety")
    diverse.add_argument("dataset", type=Path)
    diverse.add_argument("--vectors", type=Path, required=True, help="of all items, .npy")
    worth = parts.add_parser("worth", help="measures hits by what they are worth")
    worth.add_argument("dataset", type=Path)
    worth.add_argument("--table", type=Path, required=True, help="of worths")
    worth.add_argument("--choice-users", type=int, default=2000, help="validation users")
    for each, work_of in (
        (cold, measure_cold),
        (diverse, measure_diversity),
        (worth, measure_worth),
    ):
        each.add_argument("--runs", type=Path, nargs="+", required=True)
        each.add_argument("--beside", type=Path, nargs="*", default=[], help="runs without codes")
        each.add_argument("--users", type=int, default=2000, help="fixed test users, at most")
        each.add_argument("--work", type=Path, required=True, help="folder of the lists")
        add_results_option(each)
        each.set_defaults(work_of=work_of)
    asked = parser.parse_args()
    asked.work_of(asked)


if __name__ == "__main__":
    main()
