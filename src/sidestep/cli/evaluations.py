"""Evaluations: how a run's is made, kept in its folder, and found again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from rich.progress import Progress as ProgressBar

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import MANIFEST
from sidestep.cli.console import ERR
from sidestep.cli.environment import command_line, git_commit, machine
from sidestep.cli.inputs import refuse_other_data, split_of, strategy_of
from sidestep.cli.runs import RunFolder
from sidestep.cli.searches import AskedSearch, weights_in_words
from sidestep.data.dataset import Dataset
from sidestep.data.splits import Rows, Split
from sidestep.evaluation import evaluator, results
from sidestep.evaluation.evaluator import Evaluation
from sidestep.evaluation.results import PerUser, Setting, SplitName, read_per_user
from sidestep.files import file_sha256, read_json, write_json
from sidestep.model.transformer import Transformer

LIST_LENGTH = 50

_PER_USER = "per_user.parquet"

METRICS_FILE = "metrics.json"
"""Beside the per-user file: what only the whole of the lists could tell, and what it cost."""


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
        return run.evaluation(_name(self.split, self.method, self.setting))


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
        dataset=dataset.name,
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
    asked.search.policy(loaded, num_leaves=LIST_LENGTH)  # refuses what cannot be searched
    refuse_other_data(loaded, dataset)
    split = split_of(dataset)
    rows, users = evaluated_rows(split, asked.split, asked.num_users)
    return Planned(
        rows=rows,
        split=asked.split,
        method=asked.method or _method(loaded, asked),
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


def save_evaluation(
    folder: RunFolder, evaluation: Evaluation, per_user: PerUser, *, batch_size: int
) -> Path:
    """Keeps an evaluation in its run's folder; returns its per-user file.

    An older evaluation with the same settings is replaced.
    """
    path = folder.evaluation(_name(per_user.split, per_user.method, per_user.setting))
    results.write_per_user(path / _PER_USER, per_user)
    write_json(
        path / METRICS_FILE,
        {
            "method": per_user.method,
            "split": per_user.split,
            "seed": per_user.seed,
            "setting": per_user.setting.model_dump(mode="json"),
            "metrics": evaluation.metrics,
            "ms_per_user": evaluation.ms_per_user,
            "tokens_per_user": evaluation.tokens_per_user,
            "scored_per_user": evaluation.scored_per_user,
            "flops_per_user": evaluation.flops_per_user,
            "commit": git_commit(),
            "command": command_line(),
            "date": date.today().isoformat(),
            "machine": machine(),
            "batch_size": batch_size,
            "bundle": file_sha256(folder.bundle / MANIFEST),
        },
    )
    return path / _PER_USER


def kept_evaluation(folder: RunFolder, planned: Planned, *, batch_size: int) -> Path | None:
    """The per-user file of an evaluation that need not be made again; None where there is none.

    Of the same bundle and setting, and by the same machine and batch size, for times depend on
    these; what was kept before costs were counted is made again.
    """
    path = planned.folder(folder)
    if not ((path / _PER_USER).is_file() and (path / METRICS_FILE).is_file()):
        return None
    kept = read_json(path / METRICS_FILE)
    expected = {
        "setting": planned.setting.model_dump(mode="json"),
        "machine": machine(),
        "batch_size": batch_size,
        "bundle": file_sha256(folder.bundle / MANIFEST),
    }
    is_same = all(kept.get(name) == value for name, value in expected.items())
    return path / _PER_USER if is_same and "scored_per_user" in kept else None


def found_evaluations(
    path: Path, split: SplitName, users: int | Literal["all"]
) -> list[tuple[Path, PerUser]]:
    """The evaluation that a path names, or all of a run on the split and the users.

    Args:
        path: a run's folder, the folder of one evaluation, or its file.
        split: for a run's folder.
        users: for a run's folder; "all", or so many fixed random ones.

    Returns:
        The per-user files and what they hold.

    Raises:
        FileNotFoundError: there is none; says which command makes it.
    """
    if path.is_file():
        return [(path, read_per_user(path))]
    if (path / _PER_USER).is_file():
        return [(path / _PER_USER, read_per_user(path / _PER_USER))]
    files = sorted((path / "evaluations").glob(f"{split}-*/{_PER_USER}"))
    found = [(file, run) for file in files if _is_on(run := read_per_user(file), users)]
    if not found:
        raise FileNotFoundError(
            f"{path}: no evaluation on {split} and the users {users!r} here; run 'sidestep "
            f"evaluate {path} --split {split} --users {users}'."
        )
    return found


def _is_on(run: PerUser, users: int | Literal["all"]) -> bool:
    """Whether an evaluation is the one on `users`: so many of fewer are all of them."""
    if run.setting.users == "all" and users != "all":
        return len(run.user_ids) <= users
    return run.setting.users == users


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


def _method(loaded: LoadedRecommender, asked: Asked) -> str:
    return asked.search.chosen if loaded.is_searched else loaded.kind


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


def _name(split: SplitName, method: str, setting: Setting) -> str:
    """Tells apart the evaluations of one run."""
    parts = [split, method]
    if setting.beams is not None:
        parts.append(str(setting.beams))
    if setting.k_plus is not None:
        parts.append(f"of-{setting.k_plus}")
    if setting.likelihood_weight is not None:
        parts.append(f"weight-{weights_in_words(setting.likelihood_weight)}")
    if setting.budget is not None:
        parts.append(f"{setting.budget:g}x")
    if setting.search_options is not None:
        parts.append(setting.search_options)
    if setting.users != "all":
        parts.append(f"{setting.users}-users")
    if setting.exclude_seen:
        parts.append("unseen")
    return "-".join(parts)
