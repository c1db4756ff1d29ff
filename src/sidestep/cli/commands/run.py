"""`sidestep run`: does what a pipeline's configuration, or a change of it, makes necessary."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.cli.console.output import print_json, say, within_pipeline
from sidestep.cli.console.working import duration
from sidestep.cli.dry_run import ESTIMATE, Rehearsal, rehearsing
from sidestep.cli.needed_rows import rows_needed
from sidestep.cli.options import AsJson
from sidestep.cli.pipeline import Pipeline, read_pipeline
from sidestep.cli.steps import Step
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.locks import held

_RUNS = "another 'sidestep run' works here; wait for its end, or stop it."

with imported_when_used():
    from sidestep.cli import pipeline_time


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
    pipeline = read_pipeline(config, settings or [])
    with (
        contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext(),
        within_pipeline(),
    ):
        told = _tell(pipeline) if dry_run else _work(pipeline)
    if json:
        print_json(told)


def _work(pipeline: Pipeline) -> dict[str, Any]:
    """Runs what has to be run; returns what was done."""
    with held(pipeline.out, refusal=_RUNS):
        # Before anything is replaced that a training reads.
        for step in map(pipeline.as_found, pipeline.makers):
            if step.training is not None and pipeline.reasons(step):
                step.training.refuse_if_held()
        return _worked(pipeline)


def _worked(pipeline: Pipeline) -> dict[str, Any]:
    """See `_work`, once nobody else works in the folder."""
    began = time.perf_counter()
    told = []
    for step in map(pipeline.as_found, pipeline.makers):
        start = time.perf_counter()
        reasons = pipeline.reasons(step)
        if reasons:
            _announce(step)
            step.prepare(pipeline.memory.changes(step))
            pipeline.memory.begin(step)
            with rows_needed(pipeline.rows_needed(step)):
                step.run()
            pipeline.memory.finish(step)
        else:
            say(f"• {step.name}: unchanged")
        seconds = round(time.perf_counter() - start, 1)
        told.append(_told(step, "done" if reasons else "unchanged", seconds=seconds))
    more = pipeline.comparison
    for step in (pipeline.comparison, *pipeline.samples()):
        _announce(step)
        step.run()
        more = step
    seconds = time.perf_counter() - began
    say(f"Done in {seconds:,.0f} s. Again, or for others: {more.line}")
    return {"out": str(pipeline.out), "steps": told, "seconds": round(seconds, 1)}


def _tell(pipeline: Pipeline) -> dict[str, Any]:
    """Says what would be run and why, and how long that takes; lets commands check their inputs."""
    told: list[dict[str, Any]] = []
    uncounted, stale = [], set[str]()
    with rehearsing() as found:
        for step in map(pipeline.as_found, pipeline.makers):
            reasons = pipeline.reasons(step)
            told.append(_told(step, "to do" if reasons else "unchanged", reasons=reasons))
            if not reasons:
                say(f"• {step.name}: unchanged")
                continue
            say(f"• {step.name}: to do ({'; '.join(reasons)}): {step.line}")
            is_ready = not stale.intersection(step.made_from["after"])
            if not _rehearse(pipeline, step, found, is_ready=is_ready):
                uncounted.append(step.name)
            stale.add(step.name)
    if stale:
        without = f", without {', '.join(uncounted)}" if uncounted else ""
        say(
            f"Estimated time: about {duration(found.seconds)}{without}; it was measured on a "
            "little of the work, and is no promise."
        )
    say("Nothing was written.")
    return {"out": str(pipeline.out), "steps": told, ESTIMATE: round(found.seconds, 1)}


def _rehearse(pipeline: Pipeline, step: Step, found: Rehearsal, *, is_ready: bool) -> bool:
    """Lets a step check its inputs, if they are there; whether its time is known."""
    if not is_ready or not step.can_be_dry:
        dataset = found.dataset or pipeline.dataset()
        return pipeline_time.estimate_unmade(step, found, dataset, pipeline.judged)
    before = found.seconds
    with rows_needed(pipeline.rows_needed(step)):
        step.rehearse(pipeline.memory.changes(step))
    return found.seconds > before or pipeline_time.is_instant(step)


def _announce(step: Step) -> None:
    say(f"• {step.name}: {step.line}")


def _told(step: Step, state: str, **more: Any) -> dict[str, Any]:
    return {"step": step.name, "command": step.line, "state": state, **more}
