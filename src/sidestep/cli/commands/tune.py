"""`sidestep tune`: trials of the settings of a run, judged by validation alone."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.cli.console.output import OUT, print_json, say, table
from sidestep.cli.console.plan import ESTIMATE, tell_plan
from sidestep.cli.console.training_bar import progress_bar
from sidestep.cli.entry import INTERRUPTED
from sidestep.cli.options import AsJson, DryRun
from sidestep.import_paths import is_import_path
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import command
from sidestep.runs.config import kinds, read_config, refuse_missing
from sidestep.runs.folder import RunInfo
from sidestep.runs.inputs import load_catalog, load_dataset
from sidestep.runs.run_config import NUM_TRIALS, BackboneRun, LearnedRun
from sidestep.training.config import VALIDATION_METRIC

with imported_when_used():
    from sidestep.evaluation import tuning as results
    from sidestep.runs import backbones, search_space, study_folder
    from sidestep.runs import tuning as tunings


def tune(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|KIND",
            help="The settings that every trial starts from: a YAML file, or a kind of run such as "
            "sasrec for its defaults.",
        ),
    ],
    dataset: Annotated[Path, typer.Option(help="The dataset folder.")],
    out: Annotated[Path, typer.Option("--out", help="The study's folder.")],
    catalog: Annotated[
        Path | None, typer.Option(help="The catalog folder, where 'sidestep train' needs one.")
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Trials in all; give every method the same number.")
    ] = NUM_TRIALS,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            help="Values to try, key=VALUES; they replace the values that the kind declares for "
            "this setting, or add a setting; may be repeated. VALUES: log:1e-4..1e-2, 0.1..0.5, "
            "1..4 or 64,128,256.",
        ),
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Try only the settings that --space names.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Fix a setting for all trials, key=value; may be repeated."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Of the draws, and of the training of each trial."),
    ] = 0,
    prune: Annotated[
        bool,
        typer.Option(
            help="Stop a trial whose validations are below the median of other trials at the same "
            "epoch; it counts as a trial."
        ),
    ] = True,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Try settings of a run; validation chooses. Every kind gets the same number of trials.

    Each kind declares the settings that are worth trying, and their values; `--dry-run` lists
    them. --space replaces the values of a setting, --set fixes a setting. A range of numbers is
    LOW..HIGH; two whole ends make whole numbers; log: makes all orders of magnitude equally likely;
    commas separate the values of a choice. The first trial has the settings of the configuration.

    No trial sees the test rows. The same command again continues an interrupted study; a larger
    --trials adds trials. best.yaml in --out is for 'sidestep train --config'. Such a run keeps the
    number of trials, and 'sidestep evaluate --results' writes this number.

    Examples:

      sidestep tune configs/scientific-sasrec.yaml --dataset runs/scientific/dataset
      --out runs/scientific/tune-sasrec

      sidestep tune sasrec --dataset runs/scientific/dataset --out runs/scientific/tune-sasrec
      --trials 16 --set training.epochs=20 --space model.dim=64,128 --space model.dropout=0.2..0.6

      sidestep tune graph --dataset runs/scientific/dataset --out runs/scientific/tune-graph
      --set embeddings=runs/scientific/vectors.npy --trials 50

      sidestep tune configs/scientific-transformer.yaml --dataset runs/scientific/dataset
      --catalog runs/scientific/catalog --out runs/scientific/tune-transformer
      --only --space training.learning_rate=log:5e-4..5e-3
    """
    path = _file_of(config)
    fixed = [f"kind={config}"] if path is None else []
    run = search_space.tunable(read_config(path, [*fixed, *(settings or [])]))
    refuse_missing(run, path)
    names = [setting.partition("=")[0].strip() for setting in settings or []]
    searched = search_space.space_of(
        run, search_space.read_space(space or []), only=only, fixed=names
    )
    data = load_dataset(dataset)
    coded = None if catalog is None else load_catalog(catalog)
    catalog_name = None if catalog is None else str(catalog)
    if isinstance(run, BackboneRun):
        catalog_name = catalog_name or backbones.catalog_of_backbone(run.backbone)
    folder = study_folder.StudyFolder(out)
    asked = tunings.Asked(config=run, space=searched, num_trials=trials, seed=seed, prune=prune)
    if dry_run:
        sizes, time = tunings.plan_tuning(asked, data, coded, folder=folder)
        estimate = {} if time is None else {ESTIMATE: time.seconds * trials}
        tell_plan(
            folder.best,
            {"trials": trials, **asked.space_in_words, **sizes, **estimate},
            json=json,
            if_there="the trials that are there would be kept",
        )
        return

    @contextmanager
    def watch(number: int, tried: Mapping[str, Any]) -> Iterator[tunings.OnProgress]:
        say(f"Trial {number} ({number + 1} of {trials}): {_settings(tried)}.")
        with progress_bar(f"trial {number}") as report:
            yield report

    info = RunInfo(dataset=str(dataset), catalog=catalog_name, seed=seed)
    try:
        tuned = tunings.tune_run(
            asked, data, coded, folder=folder, info=info, watch=watch, told=_tell
        )
    except KeyboardInterrupt as error:
        say(f"{error or 'Stopped.'} Run the same command again to continue.")
        raise typer.Exit(INTERRUPTED) from None
    then = _next(folder, info, catalog=catalog, has_seeds=isinstance(run, LearnedRun))
    if json:
        print_json(
            {
                "path": str(out),
                "config": str(folder.best),
                "page": str(folder.page),
                "then": then,
                **tuned.tuning.as_json(),
            }
        )
        return
    _print(tuned.tuning, f"Tuning of {run.kind} on {data.name}, validation, seed {seed}")
    say(f"Wrote {folder.best}, {folder.results} and {folder.page}.", then=then)


def _file_of(config: str) -> Path | None:
    """The file that is named; None for the name of a kind.

    Raises:
        ValueError: there is neither a file nor a kind of this name.
    """
    if config in kinds():
        return None
    path = Path(config)
    if not path.exists() and path.suffix not in (".yaml", ".yml"):
        if is_import_path(config):
            return None
        near = difflib.get_close_matches(config, kinds(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"kinds: {', '.join(kinds())}."
        raise ValueError(f"{config}: is neither a configuration file nor a kind of run; {hint}")
    return path


def _settings(tried: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {results.in_words(value)}" for name, value in tried.items())


def _tell(trial: results.Trial) -> None:
    """Says how a trial ended."""
    if trial.outcome == "failed":
        say(f"Trial {trial.number} failed: {trial.reason}")
        return
    assert trial.score is not None
    after = "" if trial.best_epoch is None else f" after epoch {trial.best_epoch}"
    say(
        f"Trial {trial.number} {trial.outcome}: validation {VALIDATION_METRIC} {trial.score:.4f}"
        f"{after}, {trial.seconds:.0f} s."
    )


def _next(
    folder: study_folder.StudyFolder, info: RunInfo, *, catalog: Path | None, has_seeds: bool
) -> str:
    """The line for a shell that makes the best run: of three seeds, if the run depends on one."""
    given = ("--dataset", info.dataset, *(() if catalog is None else ("--catalog", catalog)))
    train = command("train", "--config", folder.best, *given)
    out = shlex.quote(str(folder.path.with_name(f"{folder.path.name}-best")))
    if not has_seeds:
        return f"{train} --out {out}"
    return f'for seed in 0 1 2; do {train} --out {out}-"$seed" --seed "$seed"; done'


def _print(tuning: results.Tuning, title: str) -> None:
    """One line per trial, the best first."""
    rows = [
        [
            str(trial.number),
            trial.outcome,
            "" if trial.score is None else f"{trial.score:.4f}",
            "" if trial.best_epoch is None else str(trial.best_epoch),
            *(results.in_words(trial.settings.get(name)) for name in tuning.space),
            f"{trial.seconds:.0f}",
        ]
        for trial in tuning.ranked
    ]
    columns = ["trial", "end", tuning.metric, "best epoch", *tuning.space, "seconds"]
    OUT.print(table(title, columns, rows))
