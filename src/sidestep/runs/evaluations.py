"""Evaluations of runs: how one is asked for, planned and made.

`kept_evaluations` keeps them in the folder of a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of, strategy_of
from sidestep.data.splits import Rows, Split, SplitName
from sidestep.evaluation.words import value_in_words
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import warn, working
from sidestep.runs.folder import RunFolder
from sidestep.runs.judged_rows import no_rows, rows_of
from sidestep.runs.provenance import refuse_other_data
from sidestep.runs.searches import AskedSearch

with imported_when_used():
    from sidestep.bundle import columns
    from sidestep.bundle import loaded as bundles
    from sidestep.evaluation import evaluator, results
    from sidestep.model import semantic_id_model

LIST_LENGTH = 50
"""The most items of a list that is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An evaluation that is asked for.

    split: the rows to judge by.
    search: of the semantic IDs, where there are any; without a name, the one that the bundle keeps.
    num_users: so many fixed random rows; None for all.
    exclude_seen: whether lists leave out the items of the history.
    batch_size: users at once.
    method: what results files call it; None derives it.
    codes: what they call the semantic IDs; None derives it from the catalog.
    """

    split: SplitName = "validation"
    search: AskedSearch = field(default_factory=AskedSearch)
    num_users: int | None = None
    exclude_seen: bool = False
    batch_size: int = 64
    method: str | None = None
    codes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """An evaluation before the work: on what, and what results files call it.

    num_retired: rows whose target has a tombstone.
    """

    rows: Rows
    num_retired: int
    split: SplitName
    method: str
    setting: results.Setting

    def tell_of_misses(self) -> None:
        """Warns of targets that no list can hold, if there are any."""
        if self.num_retired:
            warn(
                f"{self._share(self.num_retired)} are retired items, which no list can hold, so "
                "that they count as misses."
            )
        num = int(self.rows.is_repeat.sum()) if self.setting.exclude_seen else 0
        if num:
            warn(
                f"{self._share(num)} are items that their user had taken before. Lists that "
                "leave out seen items cannot hold these targets, so that they count as misses; "
                "lists that may hold seen items can."
            )

    def _share(self, num: int) -> str:
        return f"{num:,} of {len(self.rows):,} targets ({num / len(self.rows):.1%})"

    def folder(self, run: RunFolder) -> Path:
        """The folder that keeps it."""
        return run.evaluation(evaluation_name(self.split, self.method, self.setting))


def evaluate_run(
    loaded: bundles.LoadedRecommender,
    dataset: Dataset,
    asked: Asked,
    *,
    catalog_name: str | None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[evaluator.Evaluation, results.PerUser]:
    """Evaluates a bundle on rows of a dataset.

    Args:
        loaded, dataset, asked, catalog_name: see `plan_evaluation`.
        progress: is told how many of how many rows are done.

    Raises:
        ValueError: see `plan_evaluation`.
    """
    planned = plan_evaluation(loaded, dataset, asked, catalog_name=catalog_name)
    return evaluate_planned(loaded, dataset.name, asked, planned, progress=progress)


def evaluate_planned(
    loaded: bundles.LoadedRecommender,
    dataset: str,
    asked: Asked,
    planned: Planned,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[evaluator.Evaluation, results.PerUser]:
    """Does what `plan_evaluation` planned on the dataset of this name."""
    evaluation = _evaluated(loaded, planned.rows, asked, progress)
    per_user = results.PerUser.of(
        evaluation,
        dataset=dataset,
        method=planned.method,
        split=planned.split,
        seed=loaded.manifest.seed,
        setting=planned.setting,
    )
    return evaluation, per_user


def _evaluated(
    loaded: bundles.LoadedRecommender,
    rows: Rows,
    asked: Asked,
    progress: Callable[[int, int], None] | None = None,
) -> evaluator.Evaluation:
    return evaluator.evaluate(
        loaded.recommender(asked.search.of(loaded).policy(loaded, num_leaves=LIST_LENGTH)),
        rows,
        k=LIST_LENGTH,
        batch_size=asked.batch_size,
        exclude_seen=asked.exclude_seen,
        # A catalog of one level has items, no codes.
        semantic_ids=loaded.catalog.semantic_ids if loaded.catalog.num_levels > 1 else None,
        device=loaded.device,
        progress=progress,
    )


def seconds_of_evaluation(
    loaded: bundles.LoadedRecommender, asked: Asked, planned: Planned
) -> float:
    """The estimated time of an evaluation, in seconds, from a batch of its rows.

    Args:
        loaded: what is to be evaluated.
        asked: the evaluation.
        planned: its plan.
    """
    num_rows = len(planned.rows)
    some = planned.rows.select(evaluator.fixed_users(num_rows, asked.batch_size))
    _evaluated(loaded, some.select(np.arange(1)), asked)  # makes ready what is made once
    began = time.perf_counter()
    _evaluated(loaded, some, asked)
    return (time.perf_counter() - began) * num_rows / len(some)


def plan_evaluation(
    loaded: bundles.LoadedRecommender, dataset: Dataset, asked: Asked, *, catalog_name: str | None
) -> Planned:
    """The plan of an evaluation, which `evaluate_planned` carries out.

    Args:
        loaded: what is to be evaluated.
        dataset: the one that it was trained on.
        asked: the evaluation.
        catalog_name: the name of the semantic IDs in results files; None takes the version of the
            catalog.

    Raises:
        ValueError: the bundle was trained on another dataset, has no use for what is asked, or the
            split has no such rows.
    """
    asked = replace(asked, search=asked.search.of(loaded))
    _refuse_unused(loaded, asked)
    asked.search.policy(loaded, num_leaves=LIST_LENGTH)  # refuses what cannot be searched
    refuse_other_data(loaded, dataset)
    split = columns.with_user_columns(split_of(dataset), loaded.user_columns, dataset.users)
    rows, users = evaluated_rows(split, asked.split, asked.num_users)
    is_retired = loaded.catalog.is_retired
    return Planned(
        rows=rows,
        num_retired=0 if is_retired is None else int(is_retired[rows.targets].sum()),
        split=asked.split,
        method=results.check_method(asked.method or asked.search.method(loaded)),
        setting=_setting(loaded, asked, users, catalog_name, strategy_of(split)),
    )


def evaluated_rows(
    split: Split, name: SplitName, num_users: int | None
) -> tuple[Rows, int | Literal["all"]]:
    """The rows to judge by, or so many fixed random ones, and the entry `users` of a `Setting`.

    Raises:
        ValueError: there are none; says what to do.
    """
    rows = rows_of(split, name)
    if not len(rows):
        raise ValueError(no_rows(split, name))
    if num_users is None or num_users >= len(rows):
        return rows, "all"
    return rows.select(evaluator.fixed_users(len(rows), num_users)), num_users


@contextmanager
def row_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A context for work on rows; yields the function that is told how many of them are done."""
    with working(title) as report:
        yield lambda done, total: report("", done, total)


def _refuse_unused(loaded: bundles.LoadedRecommender, asked: Asked) -> None:
    """Raises a `ValueError` for what would change nothing: it was meant to."""
    asked.search.refuse_unused(loaded)
    if asked.codes is not None and not loaded.is_searched:
        raise ValueError(
            f"--codes {asked.codes}: this run is {loaded.kind}, which has no semantic IDs; leave "
            "the option out."
        )


def _setting(
    loaded: bundles.LoadedRecommender,
    asked: Asked,
    users: int | Literal["all"],
    catalog_name: str | None,
    strategy: str | None,
) -> results.Setting:
    network = loaded.network
    history = None
    if network is not None:
        read = "item-ids"
        if isinstance(network, semantic_id_model.SemanticIdModel):
            read = network.reader.form
        history = f"{read}@{loaded.max_history}"
    elif loaded.fitted is not None and loaded.fitted.reads_history:
        history = f"item-ids@{loaded.max_history}"
    derived = catalog_name or loaded.catalog.version[:12]
    return results.Setting(
        **asked.search.settings(loaded),
        history=history,
        codes=(asked.codes or derived) if loaded.is_searched else None,
        exclude_seen=asked.exclude_seen,
        users=users,
        strategy=strategy,
        precision=None if loaded.precision == "fp32" else loaded.precision,
    )


def evaluation_name(split: SplitName, method: str, setting: results.Setting) -> str:
    """The name of an evaluation within its run: the split, the method, and what else was set."""
    parts = [split, method]
    if setting.beams is not None:
        parts.append(str(setting.beams))
    if setting.k_plus is not None:
        parts.append(f"of-{value_in_words(setting.k_plus)}")
    if setting.likelihood_weight is not None:
        parts.append(f"weight-{value_in_words(setting.likelihood_weight)}")
    if setting.budget is not None:
        parts.append(f"{value_in_words(setting.budget)}x")
    if setting.search_options is not None:
        parts.append(setting.search_options)
    if setting.ranker is not None:
        parts.append(f"ranker-{value_in_words(setting.ranker)}")
    if setting.precision is not None:
        parts.append(setting.precision)
    if setting.users != "all":
        parts.append(f"{setting.users}-users")
    # A method may be called so already, "sasrec-unseen"; what it says must then be true.
    is_named_so = method.endswith("-unseen")
    if setting.exclude_seen and not is_named_so:
        parts.append("unseen")
    if is_named_so and not setting.exclude_seen:
        parts.append("with-seen")
    return "-".join(parts)
