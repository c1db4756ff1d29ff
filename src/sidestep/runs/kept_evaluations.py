"""Evaluations on disk: kept in the folder of a run, found again, and added to results files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from sidestep.bundle.manifest import MANIFEST, read_manifest
from sidestep.data.splits import SplitName
from sidestep.files import file_sha256, read_json, write_json
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.runs.environment import command_line, git_commit, machine
from sidestep.runs.evaluations import Planned, evaluation_name
from sidestep.runs.folder import RunFolder
from sidestep.runs.problems import plain_problem

with imported_when_used():
    from sidestep.bundle import loaded as bundles
    from sidestep.evaluation import evaluator, results

PER_USER = "per_user.parquet"

_IN_WORDS = {False: "with items of the history", True: "without items of the history"}
"""Words for lists, by whether lists leave out seen items."""

_OPTIONS = {False: "--include-seen", True: "--exclude-seen"}
"""Options of commands, by whether lists leave out seen items."""

_METRICS = "metrics.json"
"""The file beside the per-user file, with the metrics of all lists and their costs."""


def save_evaluation(
    folder: RunFolder,
    evaluation: evaluator.Evaluation,
    per_user: results.PerUser,
    *,
    batch_size: int,
) -> Path:
    """Keeps an evaluation in the folder of its run, and replaces an older one of the same settings.

    Returns:
        The per-user file.
    """
    name = evaluation_name(per_user.split, per_user.method, per_user.setting)
    path = folder.evaluation(name)
    manifest = folder.bundle / MANIFEST
    training = read_manifest(manifest).training
    results.write_per_user(path / PER_USER, per_user)
    write_json(
        path / _METRICS,
        {
            "dataset": per_user.dataset,
            "method": per_user.method,
            "split": per_user.split,
            "seed": per_user.seed,
            "setting": per_user.setting.model_dump(mode="json"),
            "format_version": results.PER_USER_VERSION,
            "metrics": evaluation.metrics,
            "train_s": training.get("seconds", 0.0),
            "trials": training.get("trials"),
            "ms_per_user": evaluation.ms_per_user,
            "tokens_per_user": evaluation.tokens_per_user,
            "scored_per_user": evaluation.scored_per_user,
            "flops_per_user": evaluation.flops_per_user,
            "commit": git_commit(),
            "command": command_line(),
            "date": date.today().isoformat(),
            "machine": machine(),
            "batch_size": batch_size,
            "bundle": file_sha256(manifest),
        },
    )
    return path / PER_USER


def kept_beside(file: Path) -> dict[str, Any]:
    """The metrics and costs beside a per-user file; empty where the file lies alone."""
    metrics = file.with_name(_METRICS)
    content = read_json(metrics) if metrics.is_file() else {}
    return content if isinstance(content, dict) else {}


def quality_fields(
    file: Path, *, selected: bool = False, trials: int | None = None
) -> dict[str, Any]:
    """The fields of a quality file for a kept evaluation, as JSON; a file also needs the commit.

    Args:
        file: its per-user file.
        selected: see `QualityLine`.
        trials: see `QualityLine`; None takes the number that the run recorded, if it did.
    """
    beside = kept_beside(file)
    known = beside.get("trials") if trials is None else trials
    kept = {**beside, "selected": selected, "trials": known}
    return {name: kept[name] for name in results.QualityLine.model_fields if name in kept}


def check_results_line(
    file: Path,
    planned: Planned,
    loaded: bundles.LoadedRecommender,
    dataset: str,
    *,
    selected: bool,
    trials: int | None = None,
) -> None:
    """Raises a `ValueError` for what a quality file would refuse, before the work is done.

    Args:
        file: the quality file.
        planned: the evaluation.
        loaded: what is to be evaluated.
        dataset: its name.
        selected, trials: see `quality_fields`.
    """
    recorded = loaded.manifest.training.get("trials")
    if trials is not None and recorded is not None and trials < recorded:
        raise ValueError(
            f"--trials {trials}: 'sidestep tune' chose the settings of this run by {recorded} "
            "trials; leave --trials out, or give the number of all trials."
        )
    if planned.split == "test" and not selected:
        raise ValueError(
            "--results with --split test needs 'sidestep evaluate --selected': only the setting "
            "that validation chose may see the test rows."
        )
    results.check_appendable(file)
    told = {
        "dataset": dataset,
        "method": planned.method,
        "split": planned.split,
        "seed": loaded.manifest.seed,
        "setting": planned.setting,
        "selected": selected,
        "trials": recorded if trials is None else trials,
        "commit": git_commit(),
        "command": command_line(),
        "date": date.today(),
        "machine": machine(),
    }
    measured = {"train_s": loaded.manifest.training.get("seconds", 0.0)}
    unknown = {"ms_per_user": 0.0, "tokens_per_user": 0.0}  # always fine, as the metrics are
    metrics = dict.fromkeys(results.REQUIRED_METRICS, 0.0)
    try:
        results.QualityLine.model_validate({**told, **measured, **unknown, "metrics": metrics})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"--results: {'.'.join(map(str, first['loc']))}: {plain_problem(first)}, got "
            f"{first['input']!r:.80}."
        ) from error


def kept_evaluation(folder: RunFolder, planned: Planned, *, batch_size: int) -> Path | None:
    """The per-user file of an evaluation that need not be made again; None where there is none.

    Bundle and setting must be the same; so must machine and batch size, because times depend on
    them. An evaluation in the format of an older Sidestep is made again.
    """
    path = planned.folder(folder)
    kept = kept_beside(path / PER_USER)
    if not (path / PER_USER).is_file():
        return None
    expected = {
        "setting": planned.setting.model_dump(mode="json"),
        "format_version": results.PER_USER_VERSION,
        "machine": machine(),
        "batch_size": batch_size,
        "bundle": file_sha256(folder.bundle / MANIFEST),
    }
    is_same = all(kept.get(name) == value for name, value in expected.items())
    return path / PER_USER if is_same and "train_s" in kept else None


def comparable_evaluations(
    paths: Sequence[Path],
    split: SplitName,
    users: int | Literal["all"],
    exclude_seen: bool | None,
) -> list[tuple[Path, results.PerUser]]:
    """The evaluations that paths name, all with seen items in their lists or all without.

    Args:
        paths: runs' folders, folders of single evaluations, or their files.
        split: for runs' folders.
        users: for runs' folders; "all", or so many fixed random ones.
        exclude_seen: whether lists leave out seen items. None takes the kind of lists that all
            paths have; where all have both kinds, lists that may hold seen items.

    Raises:
        FileNotFoundError: there is none; says which command makes it.
        ValueError: a path has no evaluation of the kind that the others have, or that is asked for.
    """
    found = [found_evaluations(path, split, users) for path in paths]
    kinds = [{run.setting.exclude_seen for _, run in runs} for runs in found]
    kind = exclude_seen
    if kind is None:  # where the paths have nothing in common, that of the first
        kind = min(set.intersection(*kinds) or kinds[0])
    for path, has in zip(paths, kinds, strict=True):
        if kind not in has:
            raise ValueError(
                f"{path}: has no evaluation on {split} {_IN_WORDS[kind]}; run 'sidestep evaluate "
                f"{path} --split {split}{' --exclude-seen' if kind else ''}', or compare lists "
                f"{_IN_WORDS[not kind]} with {_OPTIONS[not kind]}."
            )
    for path, has, runs in zip(paths, kinds, found, strict=True):
        if exclude_seen is None and len(has) > 1:
            note(
                f"{path} was evaluated with and without items of the history; compared are "
                f"lists {_IN_WORDS[kind]}. For the others give {_OPTIONS[not kind]}; for a single "
                f"evaluation name its folder, such as {runs[0][0].parent}."
            )
            break
    return [(file, run) for runs in found for file, run in runs if run.setting.exclude_seen == kind]


def found_evaluations(
    path: Path, split: SplitName, users: int | Literal["all"]
) -> list[tuple[Path, results.PerUser]]:
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
        return [(path, results.read_per_user(path))]
    if (path / PER_USER).is_file():
        return [(path / PER_USER, results.read_per_user(path / PER_USER))]
    files = sorted((path / "evaluations").glob(f"{split}-*/{PER_USER}"))
    found = [(file, run) for file in files if _is_on(run := results.read_per_user(file), users)]
    if not found:
        other = "test" if split == "validation" else "validation"
        is_other = any((path / "evaluations").glob(f"{other}-*/{PER_USER}"))
        raise FileNotFoundError(
            f"{path}: no evaluation on {split} and the users {users!r} here; run 'sidestep "
            f"evaluate {path} --split {split} --users {users}'"
            f"{f', or compare those on {other} with --split {other}' if is_other else ''}."
        )
    return found


def _is_on(run: results.PerUser, users: int | Literal["all"]) -> bool:
    """Whether an evaluation is the one on `users`, or on all users where there are no more."""
    if run.setting.users == "all" and users != "all":
        return len(run.user_ids) <= users
    return run.setting.users == users
