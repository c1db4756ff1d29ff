"""`sidestep run`: does what a pipeline's configuration, or a change of it, makes necessary."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.cli.console.output import print_json, say, within_pipeline
from sidestep.cli.console.plan import ESTIMATE
from sidestep.cli.console.working import duration
from sidestep.cli.options import AsJson
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.cli import pipeline_commands
    from sidestep.pipelines import pipeline as pipelines
    from sidestep.pipelines import work as pipeline_work


def run(
    config: Annotated[
        Path, typer.Argument(help="The pipeline's YAML file, or the folder that holds it.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting over the file, key=value; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything and say what would be done; do nothing."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Run a pipeline: import, embed, tokenize, train, evaluate, compare, recommend.

    What has been done with the same settings and inputs is not done again, so the same command
    continues where it was interrupted. 'sidestep new' writes a configuration for your tables.

    Examples:

      sidestep run shop

      sidestep run shop/sidestep.yaml --set train.transformer.training.epochs=40 --dry-run
    """
    find = pipeline_commands.find_command
    pipeline = pipelines.read_pipeline(config, settings or [], find=find)
    with (
        contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext(),
        within_pipeline(),
    ):
        told = _rehearse(pipeline) if dry_run else _work(pipeline)
    if json:
        print_json(told)


def _work(pipeline: pipelines.Pipeline) -> dict[str, Any]:
    """Runs what has to be run; returns what was done."""
    done = pipeline_work.work(pipeline, tell=say)
    say(f"Done in {done.seconds:,.0f} s. Again, or for others: {done.last}")
    return {"out": str(pipeline.out), "steps": done.steps, "seconds": round(done.seconds, 1)}


def _rehearse(pipeline: pipelines.Pipeline) -> dict[str, Any]:
    """Says what would be run and why, and how long that takes."""
    done = pipeline_work.rehearse(pipeline, tell=say)
    if done.is_anything_to_do:
        without = f", without {', '.join(done.uncounted)}" if done.uncounted else ""
        say(
            f"Estimated time: about {duration(done.seconds)}{without}; it was measured on a "
            "little of the work, and is no promise."
        )
    say("Nothing was written.")
    return {"out": str(pipeline.out), "steps": done.steps, ESTIMATE: round(done.seconds, 1)}
