"""`sidestep train`: trains a run by a configuration, and leaves its bundle."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from sidestep.cli.console import ERR, print_json, say, warn
from sidestep.cli.dry_run import ESTIMATE, DryRun, tell_plan, would_validate
from sidestep.cli.entry import INTERRUPTED
from sidestep.cli.inputs import load_dataset, warn_of_leak
from sidestep.cli.next_step import evaluation_of
from sidestep.cli.options import AsJson
from sidestep.data.own_split import split_of
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.config import read_config, refuse_missing
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.inputs import load_catalog
from sidestep.runs.judged_rows import no_rows
from sidestep.runs.run_config import BackboneRun, LearnedRun, RunConfig
from sidestep.training.config import VALIDATION_METRIC
from sidestep.training.progress import Progress

with imported_when_used():
    from sidestep.bundle import writing
    from sidestep.catalog import catalog as catalogs
    from sidestep.runs import backbones
    from sidestep.runs import train as run_training
    from sidestep.training import placement

_DRIFT = ("HR@1", "HR@50")
"""Metrics beside the one that decides: training may sharpen the top of a list and ruin the rest."""


def train(
    dataset: Annotated[Path, typer.Option(help="The dataset folder.")],
    out: Annotated[Path, typer.Option("--out", help="The run's folder.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The YAML file; without it, --set kind=KIND says the kind."),
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(
            help="The catalog folder; sasrec, popularity and repeats do without, what goes by a "
            "backbone has it from there."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting over the file, key=value; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, shuffling and dropout.")] = 0,
    resume: Annotated[
        bool,
        typer.Option(help="Continue the run in --out if there is one; else refuse to overwrite."),
    ] = True,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Train a recommender. The same command again continues where it was interrupted.

    Examples:

      sidestep train --config configs/scientific-transformer.yaml --dataset runs/scientific/dataset
      --catalog runs/scientific/catalog --out runs/scientific/transformer-0 --seed 0

      sidestep train --config configs/scientific-sasrec.yaml --dataset runs/scientific/dataset
      --out runs/scientific/sasrec-0 --set model.dropout=0.3 --set training.epochs=10

      sidestep train --config configs/process-reward.yaml --dataset runs/scientific/dataset
      --out runs/scientific/prm-0 --set backbone=runs/scientific/transformer-0

      sidestep train --config configs/value.yaml --dataset runs/scientific/dataset
      --out runs/scientific/value-0 --set backbone=runs/scientific/transformer-0
      --set embeddings=runs/scientific/vectors.npy
    """
    run = read_config(config, settings or [])
    refuse_missing(run, config)
    train_by(
        run,
        dataset=dataset,
        catalog=catalog,
        out=out,
        seed=seed,
        resume=resume,
        dry_run=dry_run,
        json=json,
    )


def train_by(
    run: RunConfig,
    *,
    dataset: Path,
    catalog: Path | None = None,
    out: Path,
    seed: int,
    resume: bool,
    dry_run: bool,
    json: bool,
) -> None:
    """Trains by a configuration and tells of it, for every command that trains; see `train`."""
    loaded = load_dataset(dataset)
    folder = RunFolder(out)
    is_learned = isinstance(run, LearnedRun)
    split = split_of(loaded, min_context=run.min_context)
    warn_of_leak(split, dataset)
    if is_learned and len(split.validation) == 0:
        warn(
            f"{no_rows(split, 'validation')} Training runs to its last epoch, and keeps the last "
            "weights."
        )
    coded = None if catalog is None else load_catalog(catalog)
    catalog_name = None if catalog is None else str(catalog)
    if isinstance(run, BackboneRun):
        catalog_name = catalog_name or backbones.catalog_of_backbone(run.backbone)
    if dry_run:
        sizes, time = run_training.plan_run(
            run, loaded, coded, folder=folder, seed=seed, resume=resume
        )
        if time is not None:
            would_validate(time.seconds_per_row)
        estimate = {} if time is None else {ESTIMATE: time.seconds}
        tell_plan(folder.bundle, {**sizes, **estimate}, json=json)
        return
    with progress_bar(run.kind) as report:
        result = run_training.train_run(
            run,
            loaded,
            coded,
            folder=folder,
            info=RunInfo(dataset=str(dataset), catalog=catalog_name, seed=seed),
            resume=resume,
            report=report,
        )
    if result is not None and result.stopped == "interrupted":
        say(
            f"Interrupted at step {result.step}; a checkpoint is in {out}. "
            "Run the same command again to continue."
        )
        raise typer.Exit(INTERRUPTED)
    if json:
        summary = {} if result is None else {**asdict(result), "weights": str(result.weights)}
        page = {"page": str(folder.alignment_page)} if folder.alignment_page.is_file() else {}
        print_json({"path": str(out), "kind": run.kind, "seed": seed, **summary, **page})
        return
    if result is not None and result.best_score is not None:
        say(
            f"Trained {result.step} steps in {result.seconds:.0f} s ({result.stopped}); best "
            f"validation {VALIDATION_METRIC} {result.best_score:.4f} after epoch "
            f"{result.best_epoch}."
        )
    if folder.alignment_page.is_file():
        say(f"Wrote {folder.alignment_page}: rollouts, policy and validations while it trained.")
    trained = catalogs.Catalog.load(folder.bundle / writing.CATALOG)
    say(f"Wrote {folder.bundle}.", then=evaluation_of(out, split, trained))


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on the standard error while training; yields the function that moves the bar.

    Where the standard error is no terminal, one plain line per epoch stands for the bar.
    """
    if not ERR.is_terminal:
        yield _epoch_lines(title)
        return
    bar = ProgressBar(
        TextColumn("[bold]{task.fields[title]}"),
        BarColumn(bar_width=8),
        TextColumn("{task.description}"),
        TimeRemainingColumn(compact=True),
        console=ERR,
        refresh_per_second=4,
        disable=not placement.is_main_process(),
    )
    with bar:
        task = bar.add_task("", total=None, title=title, visible=False)
        last_told = ""

        def report(progress: Progress) -> None:
            nonlocal last_told
            # Above the bar, which has no room for it.
            watched = _watched(progress)
            if watched not in ("", last_told):
                bar.console.print(f"{title}: step {progress.step} · {watched}")
            last_told = watched
            bar.update(
                task,
                total=progress.num_steps,
                completed=progress.step,
                description=_described(progress),
                visible=True,
            )

        yield report


def _epoch_lines(title: str) -> Callable[[Progress], None]:
    """Prints a line at the end of each epoch."""
    last_step: int | None = None

    def report(progress: Progress) -> None:
        nonlocal last_step
        told = progress
        if progress.validated_epoch != progress.epoch:  # an old validation says nothing new
            told = replace(progress, score=None, metrics={})
        described = " · ".join(filter(None, (_described(told), _watched(told))))
        # A step is told once, and the end of an epoch again after its validation.
        if progress.step == last_step and placement.is_main_process():
            say(f"{title}: epoch {described} · {progress.seconds:.0f} s")
        last_step = progress.step

    return report


def _described(progress: Progress) -> str:
    parts = [f"{progress.epoch}/{progress.num_epochs}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.targets_per_s is not None:
        parts.append(f"{progress.targets_per_s:,.0f} targets/s")
    if progress.score is not None:
        parts.append(f"{VALIDATION_METRIC} {progress.score:.4f}")
    return " · ".join(parts)


def _watched(progress: Progress) -> str:
    """The figures that the objective watches, and metrics of whole lists; empty for most kinds."""
    watched = dict(progress.parts)
    if not watched:
        return ""
    parts = []
    candidates = watched.pop("candidates", None)
    if candidates is not None and progress.targets_per_s is not None:
        parts.append(f"{candidates * progress.targets_per_s:,.0f} rollouts/s")
    parts += [f"{name.replace('_', ' ')} {value:.3g}" for name, value in watched.items()]
    parts += [f"{name} {progress.metrics[name]:.4f}" for name in _DRIFT if name in progress.metrics]
    return " · ".join(parts)
