"""The Python API: functions from a dataset to a recommender, without files and commands.

`import sidestep` offers these functions. Each does what the command of its name does; commands add
words and files. Progress is told to whoever listens, see `sidestep.notices`.
"""

import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import differing_data
from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import fingerprint
from sidestep.data.splits import SplitName, nothing_held_out
from sidestep.evaluation.compare import compare as compare_runs
from sidestep.evaluation.evaluator import Evaluation
from sidestep.evaluation.results import PerUser
from sidestep.notices import Report, naming_arguments, working
from sidestep.runs.config import checked_run
from sidestep.runs.defaults import default_run, default_sources
from sidestep.runs.evaluations import Asked, evaluate_planned, plan_evaluation, row_progress
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.item_vectors import ItemVectors, Sources, item_vectors
from sidestep.runs.recipes import settings_of
from sidestep.runs.run_config import NUM_TRIALS, LearnedRun, RunConfig
from sidestep.runs.search_space import space_of, tunable
from sidestep.runs.searches import AskedSearch
from sidestep.runs.study_folder import StudyFolder
from sidestep.runs.tokenizing import Learned, chosen_space, learned_catalog, tokenizer_config
from sidestep.runs.train import train_run
from sidestep.runs.tuning import Asked as TuningAsked
from sidestep.runs.tuning import Tuned, tune_run
from sidestep.tokenizer.choices import CollisionPolicy
from sidestep.tokenizer.methods import DEFAULT_METHOD
from sidestep.training.fit import weights_sha256
from sidestep.training.progress import Progress

OnProgress = Callable[[Progress], None]
"""A quick function that is called after every step and every validation of a training."""


def embed(dataset: Dataset, sources: Sources | None = None, *, seed: int = 0) -> ItemVectors:
    """Vectors of all items of a dataset, as `sidestep embed` makes them.

    Args:
        dataset: whose items.
        sources: the texts, models and files that vectors are made of. None takes the texts, or
            co-occurrence in the training part where there are no texts.
        seed: of the factorisations of texts and of co-occurrence.

    Raises:
        ValueError: a source does not fit the dataset.
        KeyError: an unknown text column, or an item without a given vector.
    """
    with naming_arguments(), working("embedding") as report:
        return item_vectors(dataset, sources or default_sources(dataset), seed=seed, report=report)


def tokenize(
    dataset: Dataset,
    vectors: ItemVectors | Float[np.ndarray, "items dim"],
    *,
    method: str = DEFAULT_METHOD,
    settings: Mapping[str, Any] | None = None,
    collisions: CollisionPolicy | None = None,
    space: str | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> Learned:
    """Semantic IDs of all items of a dataset, as `sidestep tokenize` makes them.

    Args:
        dataset: whose items.
        vectors: one per item.
        method: name or import path of the tokenizer.
        settings: of the method, such as `{"codebook_sizes": (256, 256, 256)}`.
        collisions: what becomes of items with equal codes; None: `reassign` where the codes suffice
            for it, else `extra`.
        space: what the codes span: "trie", "sets", or the import path of a class, see
            `sidestep.catalog.own_space.MadeOfCodes`; None: sets for `mpq`, else the trie.
        seed: of the tokenizer.
        report: is told of progress; None tells whoever listens, see `sidestep.notices`.

    Returns:
        The catalog, and the tokenizer that encodes further items.

    Raises:
        ValueError: vectors of another number of items, a setting that is not valid, or a space that
            cannot be imported or that the codes do not span.
    """
    made_of = vectors.made_of if isinstance(vectors, ItemVectors) else {}
    array = vectors.vectors if isinstance(vectors, ItemVectors) else vectors
    with naming_arguments(), working(method) as told:
        return learned_catalog(
            dataset,
            array,
            method,
            tokenizer_config(method, dict(settings or {}), array),
            collisions=collisions,
            space=chosen_space(space, method),
            seed=seed,
            made_of=made_of,
            report=report or told,
        )


def train(
    dataset: Dataset,
    config: RunConfig | Mapping[str, Any],
    *,
    catalog: Catalog | Learned | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    resume: bool = True,
    on_progress: OnProgress | None = None,
) -> LoadedRecommender:
    """Trains a run, as `sidestep train` does.

    Args:
        dataset: to learn from.
        config: the configuration of the run, or its settings, among them `kind`.
        catalog: the semantic IDs. Runs of kind popularity, repeats and graph need none, nor do
            networks over item IDs, such as sasrec and hstu, without `code_embedding`; a run that
            names a backbone takes the catalog of the backbone.
        out: the folder that keeps the run in `run`, and what `tokenize` made in `catalog`. From it
            an interrupted training goes on. None keeps nothing.
        seed: of weights, shuffling and dropout.
        resume: continue the run in `out` if there is one.
        on_progress: called after every step and validation.

    Returns:
        The recommender, which knows the histories of the users of the dataset.

    Raises:
        KeyboardInterrupt: the training was interrupted; a checkpoint is in `out`.
        FileNotFoundError: a file or folder that the configuration names is not there.
        TypeError: the dataset is no `Dataset`, or the configuration no mapping.
        ValueError: configuration, dataset and catalog do not fit each other, the network does not
            fit the memory, or `out` holds something else.
    """
    _check_dataset(dataset)
    with naming_arguments():
        run = _run_of(config)
        home = _Home.of(out)
        home.keep_dataset(dataset)
        catalog = home.keep_catalog(catalog)
        folder = RunFolder(home.path / "run")
        info = home.info(catalog, seed=seed)
        result = train_run(
            run, dataset, catalog, folder=folder, info=info, resume=resume, report=on_progress
        )
    if result is not None and result.stopped == "interrupted":
        raise KeyboardInterrupt(f"the training was interrupted; a checkpoint is in {folder.path}.")
    made = load(folder.path).with_users(dataset.histories().inputs(), dataset.users)
    if out is not None:
        made.save(folder.bundle)
    home.keep_for(made)
    return made


def fit(
    dataset: Dataset,
    *,
    config: RunConfig | Mapping[str, Any] | None = None,
    epochs: int | None = None,
    hold_out: bool = True,
    out: Path | str | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> LoadedRecommender:
    """Embeds, tokenizes and trains with the defaults that were measured best.

    Args:
        dataset: to learn from.
        config: the configuration of the run, or its settings; None takes `default_run`.
        epochs: passes over the training part; None leaves them to the configuration.
        hold_out: whether rows of validation and test are held out. Validation chooses the weights,
            and the test judges the recommender. False learns from every interaction, for
            production, and keeps the weights of the last step.
        out: see `train`.
        seed: of the vectors, the tokenizer and the training.
        on_progress: called after every step and validation of the training.

    Returns:
        The recommender, which knows the histories of the users of the dataset.

    Raises:
        KeyboardInterrupt: the training was interrupted; a checkpoint is in `out`.
        TypeError: the dataset is no `Dataset`, or the configuration no mapping.
        ValueError: the dataset is too small, or the configuration does not fit it.

    Example:
        >>> shop = sidestep.fit(sidestep.Dataset.from_frames(log, items))  # doctest: +SKIP
        >>> shop.recommend_frame(["u0"], k=10)  # doctest: +SKIP
    """
    _check_dataset(dataset)
    if not hold_out:
        dataset = replace(dataset, split=nothing_held_out(dataset.histories()))
    with naming_arguments():
        run = default_run(dataset) if config is None else _run_of(config)
    if epochs is not None:
        if not isinstance(run, LearnedRun):
            raise ValueError(f"epochs: a run of kind {run.kind} trains nothing; leave them out.")
        run = _with_epochs(run, epochs)
    catalog = None
    if run.needs_catalog:
        catalog = tokenize(dataset, embed(dataset, seed=seed), seed=seed)
    return train(dataset, run, catalog=catalog, out=out, seed=seed, on_progress=on_progress)


def tune(
    dataset: Dataset,
    config: RunConfig | Mapping[str, Any],
    *,
    catalog: Catalog | Learned | None = None,
    trials: int = NUM_TRIALS,
    space: Mapping[str, str | Sequence[Any]] | None = None,
    only: bool = False,
    prune: bool = True,
    out: Path | str | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Tuned:
    """Searches the settings of a run by trainings that validation judges, as `sidestep tune` does.

    Args:
        dataset: to learn from; no trial sees its test rows.
        config: that every trial starts from, or its settings, among them `kind`.
        catalog: see `train`.
        trials: in all; give every method the same number.
        space: values to try by the name of a setting, such as `{"model.dropout": "0.1..0.5"}` or
            `{"model.dim": [64, 128]}`, see `sidestep.runs.search_space.read_values`. They replace
            the values that the kind declares.
        only: whether only the settings that `space` names are tried.
        prune: whether trials are stopped early whose validations are below the median.
        out: the folder that keeps the study in `study`. From it an interrupted study goes on. None
            keeps nothing.
        seed: of the draws, and of the training of every trial.
        on_progress: called after every step and validation of every trial.

    Returns:
        The best configuration, which `train` takes, and all trials. The configuration holds the
        number of trials, and a run by it keeps the number.

    Raises:
        KeyboardInterrupt: a training was interrupted; `out` has the trials so far.
        ImportError: Optuna is not installed.
        TypeError: the dataset is no `Dataset`, or the configuration no mapping.
        ValueError: the space does not fit the configuration, no trial came to an end, or see
            `train`.

    Example:
        >>> tuned = sidestep.tune(data, {"kind": "sasrec"}, trials=8)  # doctest: +SKIP
        >>> shop = sidestep.train(data, tuned.config, seed=1)  # doctest: +SKIP
    """
    _check_dataset(dataset)

    def watch(number: int, settings: Mapping[str, Any]) -> AbstractContextManager[OnProgress]:
        return nullcontext(on_progress or (lambda _progress: None))

    with naming_arguments():
        run = tunable(_run_of(config))
        asked = TuningAsked(
            config=run,
            space=space_of(run, space, only=only),
            num_trials=trials,
            seed=seed,
            prune=prune,
        )
        home = _Home.of(out)
        home.keep_dataset(dataset)
        catalog = home.keep_catalog(catalog)
        info = home.info(catalog, seed=seed)
        folder = StudyFolder(home.path / "study")
        return tune_run(asked, dataset, catalog, folder=folder, info=info, watch=watch)


def align(
    dataset: Dataset,
    recommender: LoadedRecommender,
    recipe: str = "optimum",
    *,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> LoadedRecommender:
    """Improves a trained recommender by a recipe, as `sidestep align` and `sidestep prefer` do.

    Args:
        dataset: the one that the recommender was trained on.
        recommender: one that writes semantic IDs, from `fit`, `train` or `load`.
        recipe: the name of a recipe, see `sidestep.runs.recipes`.
        settings: replace settings of the recipe, by key, such as `{"training": {"epochs": 2}}`.
        out: see `train`.
        seed: of shuffling, dropout and draws.
        on_progress: see `train`.

    Returns:
        The improved recommender; the old one stays as it is.

    Raises:
        KeyboardInterrupt: the training was interrupted; a checkpoint is in `out`.
        TypeError: dataset and recommender are not what they should be.
        ValueError: recipe, recommender and dataset do not fit each other.
    """
    _check_dataset(dataset)
    _check_recommender(recommender)
    if not recommender.is_searched:
        raise ValueError(
            f"recommender: {recommender.kind} has no prefixes of semantic IDs to learn from; pass "
            "one of kind transformer."
        )
    content = settings_of(recipe, network=recommender.kind)
    for key, value in (settings or {}).items():
        before = content.get(key)
        is_part = isinstance(before, dict) and isinstance(value, Mapping)
        content[key] = {**before, **value} if before and is_part else value
    home = _Home.of(out)
    home.keep_dataset(dataset)
    backbone = home.keep_backbone(recommender)
    made = train(
        dataset, {**content, "backbone": str(backbone)}, out=out, seed=seed, on_progress=on_progress
    )
    home.keep_for(made)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A recommender measured on the rows of a split.

    evaluation: lists and metrics.
    per_user: the rows with their ranks, which `compare` takes and results files keep.
    """

    evaluation: Evaluation
    per_user: PerUser

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the rows, by name, such as "NDCG@10"."""
        return dict(self.evaluation.metrics)


def evaluate(
    recommender: LoadedRecommender,
    dataset: Dataset,
    *,
    split: SplitName = "validation",
    search: str | AskedSearch | None = None,
    num_users: int | None = None,
    exclude_seen: bool = False,
    batch_size: int = 64,
    method: str | None = None,
) -> Evaluated:
    """Judges a recommender by the rows of a split, as `sidestep evaluate` does.

    Args:
        recommender: from `fit`, `train` or `load`.
        dataset: the one that the recommender was trained on.
        split: the rows to judge by. Choose by validation, and look at the test once.
        search: the search of semantic IDs: a name, an import path, or an `AskedSearch` with
            settings; None takes the recommender's own search.
        num_users: so many fixed random rows; None for all.
        exclude_seen: whether lists leave out the items of the history.
        batch_size: users at once.
        method: the name in tables; None derives it. A name of your own is a known one with a
            suffix, such as item-beam-b; `compare` needs it for two recommenders of one kind.

    Returns:
        The lists and their metrics, over the whole catalog.

    Raises:
        TypeError: recommender and dataset are not what they should be.
        ValueError: the recommender was trained on other data, or there are no such rows.
    """
    _check_recommender(recommender)
    _check_dataset(dataset)
    with naming_arguments():
        asked = Asked(
            split=split,
            search=search if isinstance(search, AskedSearch) else AskedSearch(name=search),
            num_users=num_users,
            exclude_seen=exclude_seen,
            batch_size=batch_size,
            method=method,
        )
        planned = plan_evaluation(recommender, dataset, asked, catalog_name=None)
    planned.tell_of_misses()
    with row_progress(f"{planned.method}, {split}") as progress:
        evaluation, per_user = evaluate_planned(
            recommender, dataset.name, asked, planned, progress=progress
        )
    return Evaluated(evaluation=evaluation, per_user=per_user)


def compare(
    evaluated: Sequence[Evaluated],
    *,
    reference: str | None = None,
    metrics: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Compares evaluations on the same rows: means, intervals and paired tests.

    Args:
        evaluated: two or more; those that differ in their seed alone are one method.
        reference: the method that the others are tested against; None tests nothing.
        metrics: by name; None takes all.

    Returns:
        A frame: method, metric, mean, low and high of the 95 % interval over users; and with a
        reference, difference and p.

    Raises:
        ValueError: the evaluations differ in dataset, split or rows, or in whether lists leave out
            seen items; or two have the same method, setting and seed.
    """
    with naming_arguments():
        methods = compare_runs(
            [one.per_user for one in evaluated], reference=reference, metrics=metrics
        )
    rows = []
    for method in methods:
        for metric, estimate in method.estimates.items():
            row = {
                "method": method.label,
                "metric": metric,
                "mean": estimate.mean,
                "low": estimate.interval.low,
                "high": estimate.interval.high,
            }
            if reference is not None:
                test = method.tests.get(metric)
                row["difference"] = None if test is None else test.difference
                row["p"] = None if test is None else test.p_value
            rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Home:
    """The folder of what is made; a temporary one is deleted with the recommender.

    temporary: its owner; None for a folder that the caller named.
    """

    path: Path
    temporary: tempfile.TemporaryDirectory[str] | None

    @classmethod
    def of(cls, out: Path | str | None) -> "_Home":
        """The folder that the caller named, else a temporary one.

        Raises:
            ValueError: the folder holds something else.
        """
        if out is not None:
            path = Path(out)
            if path.is_file():
                raise ValueError(f"out: {path} is a file; choose a folder.")
            there = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
            strangers = there - {"backbone", "catalog", "dataset", "run", "study"}
            if strangers:
                raise ValueError(
                    f"out: {path} holds other things than a run of these functions, such as "
                    f"{min(strangers)}; choose another folder."
                )
            return cls(path=path, temporary=None)
        temporary = tempfile.TemporaryDirectory(prefix="sidestep-", ignore_cleanup_errors=True)
        return cls(path=Path(temporary.name), temporary=temporary)

    def keep_dataset(self, dataset: Dataset) -> None:
        """Keeps the dataset beside its run, so that commands find it.

        Raises:
            ValueError: the folder holds a run on another dataset.
        """
        place = self.path / "dataset"
        if self.temporary is not None:
            return
        if place.is_dir():
            differing = differing_data(fingerprint(Dataset.load(place)), fingerprint(dataset))
            if differing:
                raise ValueError(
                    f"out: {self.path} holds a run on another dataset (different "
                    f"{' and '.join(differing)}); choose another folder, or delete this one."
                )
            return
        dataset.save(place)

    def keep_catalog(self, catalog: Catalog | Learned | None) -> Catalog | None:
        """Keeps a catalog beside its run, and returns the one that is kept."""
        if catalog is None:
            return None
        catalog.save(self.path / "catalog")
        return Catalog.load(self.path / "catalog")

    def info(self, catalog: Catalog | None, *, seed: int) -> RunInfo:
        """The inputs of a run on what is kept here."""
        return RunInfo(
            dataset=str(self.path / "dataset"),
            catalog=None if catalog is None else str(self.path / "catalog"),
            seed=seed,
        )

    def keep_backbone(self, recommender: LoadedRecommender) -> Path:
        """Keeps a recommender as the backbone that a run names, as long as the run.

        Raises:
            ValueError: the folder holds a run on another recommender.
        """
        place = self.path / "backbone"
        if not place.is_dir():
            recommender.save(place)
        elif _weights(load(place)) != _weights(recommender):
            raise ValueError(
                f"out: {self.path} holds an alignment of another recommender; choose another "
                "folder, or delete this one."
            )
        return place

    def keep_for(self, recommender: LoadedRecommender) -> None:
        """Keeps a temporary folder as long as the catalog, whose files lie in the folder."""
        if self.temporary is not None:
            weakref.finalize(recommender.catalog, self.temporary.cleanup)


def _weights(recommender: LoadedRecommender) -> str:
    """The hash of a recommender's weights."""
    network = recommender.network
    return "" if network is None else weights_sha256(network.state_dict())


def _check_dataset(dataset: Any) -> None:
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"dataset is a {type(dataset).__name__}; make a sidestep.Dataset, with "
            "Dataset.from_frames for example."
        )


def _check_recommender(recommender: Any) -> None:
    if not isinstance(recommender, LoadedRecommender):
        raise TypeError(
            f"recommender is a {type(recommender).__name__}; pass what fit, train or load returns."
        )


def _run_of(config: Any) -> RunConfig:
    """The configuration of a run; settings are checked and become one."""
    if isinstance(config, RunConfig):
        return config
    if not isinstance(config, Mapping):
        raise TypeError(
            f"config is a {type(config).__name__}; pass settings such as {{'kind': 'sasrec'}}, or "
            "a configuration, which from_yaml reads from a file."
        )
    return checked_run(dict(config), "config")


def _with_epochs(run: LearnedRun, epochs: Any) -> LearnedRun:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs is a whole number from 1, got {epochs!r:.40}.")
    every = min(run.training.validate_every, epochs)
    training = run.training.model_copy(update={"epochs": epochs, "validate_every": every})
    return run.model_copy(update={"training": training})
