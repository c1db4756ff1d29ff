"""Evaluations: how a run's is asked for, planned and made; kept ones are in `kept_evaluations`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.progress import Progress as ProgressBar

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.cli.console import ERR
from sidestep.cli.inputs import refuse_other_data, split_of, strategy_of
from sidestep.cli.runs import RunFolder
from sidestep.cli.searches import AskedSearch
from sidestep.data.dataset import Dataset
from sidestep.data.splits import Rows, Split
from sidestep.evaluation import evaluator
from sidestep.evaluation.evaluator import Evaluation
from sidestep.evaluation.results import (
    PerUser,
    Setting,
    SplitName,
    check_method,
    value_in_words,
)
from sidestep.model.transformer import Transformer

LIST_LENGTH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How to evaluate.

    search: of the semantic IDs, where there are any.
    num_users: so many fixed random rows; None for all.
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
    """An evaluation before the work: on what, and what results files call it."""

    rows: Rows
    split: SplitName
    method: str
    setting: Setting

    def folder(self, run: RunFolder) -> Path:
        """Where it is kept."""
        return run.evaluation(evaluation_name(self.split, self.method, self.setting))


def evaluate_run(
    loaded: LoadedRecommender,
    dataset: Dataset,
    asked: Asked,
    *,
    catalog_name: str | None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Evaluation, PerUser]:
    """Evaluates a bundle on rows of a dataset.

    Raises:
        ValueError: the bundle was trained on another dataset, or has no use for what is asked.
    """
    planned = plan_evaluation(loaded, dataset, asked, catalog_name=catalog_name)
    return evaluate_planned(loaded, dataset.name, asked, planned, progress=progress)


def evaluate_planned(
    loaded: LoadedRecommender,
    dataset: str,
    asked: Asked,
    planned: Planned,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Evaluation, PerUser]:
    """Does what `plan_evaluation` planned on the dataset of this name."""
    evaluation = evaluator.evaluate(
        loaded.recommender(asked.search.policy(loaded, num_leaves=LIST_LENGTH)),
        planned.rows,
        k=LIST_LENGTH,
        batch_size=asked.batch_size,
        max_history=loaded.max_history,
        exclude_seen=asked.exclude_seen,
        # A catalog of one level has items, no codes.
        semantic_ids=loaded.catalog.semantic_ids if loaded.catalog.num_levels > 1 else None,
        device=loaded.device,
        progress=progress,
    )
    per_user = PerUser.of(
        evaluation,
        dataset=dataset,
        method=planned.method,
        split=planned.split,
        seed=loaded.manifest.seed,
        setting=planned.setting,
    )
    return evaluation, per_user


def plan_evaluation(
    loaded: LoadedRecommender, dataset: Dataset, asked: Asked, *, catalog_name: str | None
) -> Planned:
    """What `evaluate_run` would do.

    Raises:
        ValueError: see there.
    """
    _refuse_unused(loaded, asked)
    if asked.method is not None:
        check_method(asked.method)
    asked.search.policy(loaded, num_leaves=LIST_LENGTH)  # refuses what cannot be searched
    refuse_other_data(loaded, dataset)
    split = split_of(dataset)
    rows, users = evaluated_rows(split, asked.split, asked.num_users)
    return Planned(
        rows=rows,
        split=asked.split,
        method=asked.method or asked.search.method(loaded),
        setting=_setting(loaded, asked, users, catalog_name, strategy_of(split)),
    )


def evaluated_rows(
    split: Split, name: SplitName, num_users: int | None
) -> tuple[Rows, int | Literal["all"]]:
    """The rows to judge by, or so many fixed random ones, and what settings call their number."""
    rows = split.validation if name == "validation" else split.test
    if num_users is None or num_users >= len(rows):
        return rows, "all"
    return rows.select(evaluator.fixed_users(len(rows), num_users)), num_users


def num_users(text: str) -> int | None:
    """The number of users an option names; None for all.

    Raises:
        ValueError: for anything else.
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--users {text!r}: write 'all' or a number from 1.")
    return int(text)


@contextmanager
def evaluation_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a bar on the standard error; what it yields moves it."""
    with ProgressBar(console=ERR, transient=True, disable=not ERR.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _refuse_unused(loaded: LoadedRecommender, asked: Asked) -> None:
    """Raises a `ValueError` for what would change nothing: it was meant to."""
    asked.search.refuse_unused(loaded)
    if asked.codes is not None and not loaded.is_searched:
        raise ValueError(
            f"--codes {asked.codes}: this run is {loaded.kind}, which has no semantic IDs; leave "
            "the option out."
        )


def _setting(
    loaded: LoadedRecommender,
    asked: Asked,
    users: int | Literal["all"],
    catalog_name: str | None,
    strategy: str | None,
) -> Setting:
    network = loaded.network
    history = None
    if network is not None:
        read = "codes" if loaded.is_searched else "item-ids"
        if isinstance(network, Transformer):
            read = network.config.history
        history = f"{read}@{loaded.max_history}"
    derived = catalog_name or loaded.catalog.version[:12]
    return Setting(
        **asked.search.settings(loaded),
        history=history,
        codes=(asked.codes or derived) if loaded.is_searched else None,
        exclude_seen=asked.exclude_seen,
        users=users,
        strategy=strategy,
    )


def evaluation_name(split: SplitName, method: str, setting: Setting) -> str:
    """Tells apart the evaluations of one run."""
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
    if setting.users != "all":
        parts.append(f"{setting.users}-users")
    # A method may be called so already, "sasrec-unseen"; what it says must then be true.
    is_named_so = method.endswith("-unseen")
    if setting.exclude_seen and not is_named_so:
        parts.append("unseen")
    if is_named_so and not setting.exclude_seen:
        parts.append("with-seen")
    return "-".join(parts)
