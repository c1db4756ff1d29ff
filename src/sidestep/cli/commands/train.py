"""`sidestep train`: trains a run by a configuration, and leaves its bundle."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.cli.console.next_step import evaluation_of
from sidestep.cli.console.output import print_json, say, warn
from sidestep.cli.console.plan import ESTIMATE, tell_plan
from sidestep.cli.console.training_bar import progress_bar
from sidestep.cli.entry import INTERRUPTED
from sidestep.cli.options import AsJson, DryRun
from sidestep.data.own_split import split_of
from sidestep.launch import Launch
from sidestep.lazy_imports import imported_when_used
from sidestep.pipelines.rehearsal import would_validate
from sidestep.runs.config import read_config, refuse_missing
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.inputs import load_catalog, load_dataset
from sidestep.runs.judged_rows import no_rows
from sidestep.runs.run_config import BackboneRun, LearnedRun, RunConfig
from sidestep.training.config import VALIDATION_METRIC
from sidestep.training.progress import TrainingResult

with imported_when_used():
    from sidestep.bundle import layout
    from sidestep.catalog import catalog as catalogs
    from sidestep.runs import backbones
    from sidestep.runs import train as run_training


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
            help="The catalog folder. Popularity, repeats and graph need none, nor do sasrec, "
            "hstu, gru4rec, caser, bert4rec, rearec, lares and diffureason without "
            "model.code_embedding. A run with a backbone takes the backbone's catalog."
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
    if not Launch.of_environment().is_first:
        return  # the first process writes and says how it ended
    if result is not None and result.stopped == "interrupted":
        say(
            f"Interrupted at step {result.step}; a checkpoint is in {out}. "
            "Run the same command again to continue."
        )
        raise typer.Exit(INTERRUPTED)
    if json:
        page = {"page": str(folder.alignment_page)} if folder.alignment_page.is_file() else {}
        print_json({"path": str(out), "kind": run.kind, "seed": seed, **_summary(result), **page})
        return
    _tell(result, folder)
    trained = catalogs.Catalog.load(folder.bundle / layout.CATALOG)
    say(f"Wrote {folder.bundle}.", then=evaluation_of(out, split, trained))


def _summary(result: TrainingResult | None) -> dict[str, Any]:
    """The result of a training as JSON; empty where nothing was trained."""
    return {} if result is None else {**asdict(result), "weights": str(result.weights)}


def _tell(result: TrainingResult | None, folder: RunFolder) -> None:
    """Says how the training ended, and which page it wrote."""
    if result is not None and result.best_score is not None:
        say(
            f"Trained {result.step} steps in {result.seconds:.0f} s ({result.stopped}); best "
            f"validation {VALIDATION_METRIC} {result.best_score:.4f} after epoch "
            f"{result.best_epoch}."
        )
    if folder.alignment_page.is_file():
        say(f"Wrote {folder.alignment_page}: rollouts, policy and validations while it trained.")
