"""`sidestep evaluate`: a run on a split, measured in the one way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import Progress as ProgressBar

from sidestep.bundle import LoadedRecommender, load
from sidestep.cli.console import ERR, OUT, print_json, say, table
from sidestep.cli.environment import command_line, git_commit, machine
from sidestep.cli.importing import AsJson
from sidestep.cli.inputs import fingerprint, load_dataset, split_of
from sidestep.cli.runs import RunFolder
from sidestep.data.dataset import Dataset
from sidestep.evaluation import evaluator, results
from sidestep.evaluation.evaluator import Evaluation
from sidestep.evaluation.results import PerUser, QualityLine, Setting, SplitName
from sidestep.files import write_json
from sidestep.metrics.statistics import bootstrap_interval
from sidestep.model.transformer import Transformer
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.policy import SearchPolicy

SearchName = Literal["beam", "exhaustive"]

LIST_LENGTH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How to evaluate.

    beams: prefixes per level, for a beam search.
    num_users: so many fixed random rows; None for all.
    method: what results files call it; None derives it.
    codes: what they call the semantic IDs; None derives it from the catalog.
    """

    split: SplitName = "validation"
    search: SearchName = "beam"
    beams: int = 50
    num_users: int | None = None
    exclude_seen: bool = False
    batch_size: int = 64
    method: str | None = None
    codes: str | None = None


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
        ValueError: the bundle was trained on another dataset.
    """
    is_same = fingerprint(dataset) == loaded.manifest.data
    if not is_same:
        raise ValueError(
            f"the bundle was trained on another dataset than this {dataset.name} "
            f"({loaded.manifest.data.get('name')!r}, or an older state of it); give the one it was "
            "trained on, or train again."
        )
    split = split_of(dataset)
    rows = split.validation if asked.split == "validation" else split.test
    users: int | Literal["all"] = "all"
    if asked.num_users is not None and asked.num_users < len(rows):
        users = asked.num_users
        rows = rows.select(evaluator.fixed_users(len(rows), asked.num_users))
    evaluation = evaluator.evaluate(
        loaded.recommender(_policy(loaded, asked)),
        rows,
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
        method=asked.method or _method(loaded, asked),
        split=asked.split,
        seed=loaded.manifest.seed,
        setting=_setting(loaded, asked, users, catalog_name),
    )
    return evaluation, per_user


def save_evaluation(
    folder: RunFolder, evaluation: Evaluation, per_user: PerUser, asked: Asked
) -> Path:
    """Keeps an evaluation in its run's folder; returns where.

    An older evaluation with the same settings is replaced.
    """
    path = folder.evaluation(_name(per_user, asked))
    results.write_per_user(path / "per_user.parquet", per_user)
    write_json(
        path / "metrics.json",
        {
            "method": per_user.method,
            "split": per_user.split,
            "seed": per_user.seed,
            "setting": per_user.setting.model_dump(mode="json"),
            "metrics": evaluation.metrics,
            "ms_per_user": evaluation.ms_per_user,
            "tokens_per_user": evaluation.tokens_per_user,
        },
    )
    return path


def evaluate(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    dataset: Annotated[
        Path | None, typer.Option(help="The dataset folder; default: the one it was trained on.")
    ] = None,
    split: Annotated[SplitName, typer.Option(help="The rows to judge by.")] = "validation",
    search: Annotated[SearchName, typer.Option(help="How semantic IDs are searched.")] = "beam",
    beams: Annotated[int, typer.Option(min=1, help="Prefixes kept per level.")] = 50,
    users: Annotated[str, typer.Option(help="'all', or so many fixed random users.")] = "all",
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items of the history.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Users at once.")] = 64,
    method: Annotated[
        str | None, typer.Option(help="Name in results files, such as beam-no-text.")
    ] = None,
    codes: Annotated[
        str | None, typer.Option(help="Name of the semantic IDs; default: the catalog folder's.")
    ] = None,
    results_file: Annotated[
        Path | None, typer.Option("--results", help="Append a line to this quality file.")
    ] = None,
    selected: Annotated[
        bool,
        typer.Option(
            "--selected", help="Validation chose this setting; only then it may be tested."
        ),
    ] = False,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Validation trials the method was given.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Measure a run on validation or test rows, by ranking the whole catalog.

    Examples:

      sidestep evaluate runs/scientific/transformer-0

      sidestep evaluate runs/scientific/transformer-0 --split test --beams 50
      --results benchmarks/results/quality.jsonl --selected

      sidestep evaluate runs/scientific/transformer-0 --search exhaustive --users 2000 --json
    """
    folder = RunFolder(run)
    info = folder.info()
    commit = None
    if results_file is not None:
        commit = _checked_for_results(split, selected=selected)
    asked = Asked(
        split=split,
        search=search,
        beams=beams,
        num_users=num_users(users),
        exclude_seen=exclude_seen,
        batch_size=batch_size,
        method=method,
        codes=codes,
    )
    loaded = load(folder.path)
    if search == "exhaustive" and not isinstance(loaded.network, Transformer):
        raise ValueError(
            f"--search exhaustive: {run} is {loaded.kind}, which scores every item and searches "
            "nothing; leave the option out."
        )
    with evaluation_bar(f"{folder.path.name}, {split}") as progress:
        evaluation, per_user = evaluate_run(
            loaded,
            load_dataset(dataset or Path(info.dataset)),
            asked,
            catalog_name=None if info.catalog is None else Path(info.catalog).name,
            progress=progress,
        )
    path = save_evaluation(folder, evaluation, per_user, asked)
    line = {
        "dataset": per_user.dataset,
        "method": per_user.method,
        "split": per_user.split,
        "seed": per_user.seed,
        "setting": per_user.setting,
        "selected": selected,
        "metrics": evaluation.metrics,
        "trials": trials,
        "train_s": loaded.manifest.training.get("seconds", 0.0),
        "ms_per_user": evaluation.ms_per_user,
        "tokens_per_user": evaluation.tokens_per_user,
        "command": command_line(),
        "date": date.today(),
        "machine": machine(),
    }
    if results_file is not None:
        assert commit is not None
        results.append(results_file, QualityLine(**line, commit=commit))
    if json:
        print_json({**_plain(line), "per_user": str(path / "per_user.parquet")})
        return
    _print(evaluation, per_user)
    say(f"Wrote {path}.")


@contextmanager
def evaluation_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a bar on the standard error; what it yields moves it."""
    with ProgressBar(console=ERR, transient=True, disable=not ERR.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _policy(loaded: LoadedRecommender, asked: Asked) -> SearchPolicy | None:
    if not isinstance(loaded.network, Transformer):
        return None
    if asked.search == "exhaustive":
        return ExhaustiveSearch(num_leaves=LIST_LENGTH)
    return BeamSearch(num_beams=asked.beams)


def _method(loaded: LoadedRecommender, asked: Asked) -> str:
    return asked.search if isinstance(loaded.network, Transformer) else loaded.kind


def _setting(
    loaded: LoadedRecommender,
    asked: Asked,
    users: int | Literal["all"],
    catalog_name: str | None,
) -> Setting:
    network = loaded.network
    history = None
    if network is not None:
        read = network.config.history if isinstance(network, Transformer) else "item-ids"
        history = f"{read}@{loaded.max_history}"
    is_searched = isinstance(network, Transformer)
    derived = catalog_name or loaded.catalog.version[:12]
    return Setting(
        search=asked.search if is_searched else None,
        beams=asked.beams if is_searched and asked.search == "beam" else None,
        k_plus=None,
        budget=None,
        history=history,
        codes=(asked.codes or derived) if is_searched else None,
        exclude_seen=asked.exclude_seen,
        users=users,
    )


def _name(per_user: PerUser, asked: Asked) -> str:
    """Tells apart the evaluations of one run."""
    setting = per_user.setting
    parts = [per_user.split, per_user.method]
    if setting.beams is not None:
        parts.append(str(setting.beams))
    if setting.users != "all":
        parts.append(f"{setting.users}-users")
    if asked.exclude_seen:
        parts.append("unseen")
    return "-".join(parts)


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


def _checked_for_results(split: SplitName, *, selected: bool) -> str:
    """The commit; refuses what the results file would refuse, before the work is done."""
    if split == "test" and not selected:
        raise ValueError(
            "--results with --split test needs --selected: only the setting that validation chose "
            "may see the test rows."
        )
    commit = git_commit()
    if commit is None:
        raise ValueError(
            "--results needs the commit, but this folder is in no git repository; run it there."
        )
    return commit


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    return {
        **line,
        "setting": line["setting"].model_dump(mode="json"),
        "date": line["date"].isoformat(),
    }


def _print(evaluation: Evaluation, per_user: PerUser) -> None:
    values = evaluator.per_user_metrics(
        evaluation.rank_before, evaluation.bucket_size, evaluation.items.shape[1]
    )
    rows = []
    for name, mean in evaluation.metrics.items():
        interval = ""
        if name in values:
            bounds = bootstrap_interval(values[name].double().numpy(), seed=0)
            interval = f"{bounds.low:.4f} – {bounds.high:.4f}"
        rows.append([name, f"{mean:.4f}", interval])
    rows.append(["ms per user", f"{evaluation.ms_per_user:.2f}", ""])
    rows.append(["tokens per user", f"{evaluation.tokens_per_user:.1f}", ""])
    title = (
        f"{per_user.method} on {per_user.dataset}, {per_user.split}, "
        f"{len(per_user.user_ids):,} users, seed {per_user.seed}"
    )
    OUT.print(table(title, ["metric", "mean", "95 %"], rows))
