"""The work of a pipeline: the steps that a change makes necessary, done or rehearsed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidestep.data.dataset import Dataset
from sidestep.lazy_imports import imported_when_used
from sidestep.pipelines.pipeline import Pipeline
from sidestep.pipelines.rehearsal import Rehearsal, rehearsing
from sidestep.pipelines.steps import Step
from sidestep.runs.locks import held
from sidestep.runs.needed_rows import rows_needed

with imported_when_used():
    from sidestep.pipelines import estimated_time

_RUNS = "another process runs a pipeline here; wait for its end, or stop it."

Tell = Callable[[str], None]
"""A function that is given a sentence about every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """The outcome of a pipeline that was run.

    steps: the name, command and state of each, as JSON; the state is "done" or "unchanged".
    seconds: wall time of all steps.
    last: the last command, as a shell has it.
    """

    steps: list[dict[str, Any]]
    seconds: float
    last: str


@dataclass(slots=True, kw_only=True)
class Rehearsed:
    """The outcome of a pipeline that was rehearsed.

    steps: the name, command and state of each, as JSON; the state is "to do" or "unchanged".
    seconds: the estimated time of the steps to do, without those in `uncounted`.
    uncounted: the names of the steps to do whose time is not known.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    uncounted: list[str] = field(default_factory=list)

    @property
    def is_anything_to_do(self) -> bool:
        """Whether a step would run."""
        return any(step["state"] != "unchanged" for step in self.steps)


def work(
    pipeline: Pipeline, *, tell: Tell, check: Callable[[Dataset], None] | None = None
) -> Worked:
    """Runs the steps that have to be run; then compares and recommends.

    Args:
        pipeline: see `read_pipeline`.
        tell: is given a sentence about every step.
        check: is given the imported dataset before any other step runs, and may refuse it.

    Raises:
        ValueError: somebody else works in the folder of the pipeline, or trains one of its runs.
    """
    with held(pipeline.out, refusal=_RUNS):
        # Before a step replaces anything that a training reads.
        for step in map(pipeline.as_found, pipeline.makers):
            if step.training is not None and pipeline.reasons(step):
                step.training.refuse_if_held()
        return _worked(pipeline, tell, check)


def outlook(pipeline: Pipeline, *, tell: Tell) -> list[dict[str, Any]]:
    """Says which steps would run and why; no command is asked, and nothing is written.

    A step that reads what another step changes is told as the pipeline knows it: by the settings.

    Args:
        pipeline: see `read_pipeline`.
        tell: is given a sentence about every step.

    Returns:
        The name, command and state of each step, as JSON; the state is "to do" or "unchanged".
    """
    told = []
    for step in map(pipeline.as_found, pipeline.makers):
        reasons = pipeline.reasons(step)
        told.append(_foretold(step, reasons, tell))
    return told


def rehearse(pipeline: Pipeline, *, tell: Tell) -> Rehearsed:
    """Says what would be run and why, and lets commands check their inputs; nothing is written.

    Args:
        pipeline: see `read_pipeline`.
        tell: is given a sentence about every step.
    """
    done, stale = Rehearsed(), set[str]()
    with rehearsing() as found:
        for step in map(pipeline.as_found, pipeline.makers):
            reasons = pipeline.reasons(step)
            done.steps.append(_foretold(step, reasons, tell))
            if not reasons:
                continue
            is_ready = not stale.intersection(step.made_from["after"])
            if not _rehearse(pipeline, step, found, is_ready=is_ready):
                done.uncounted.append(step.name)
            stale.add(step.name)
    done.seconds = found.seconds
    return done


def _worked(pipeline: Pipeline, tell: Tell, check: Callable[[Dataset], None] | None) -> Worked:
    """See `work`, once nobody else works in the folder."""
    began = time.perf_counter()
    told = []
    for step in map(pipeline.as_found, pipeline.makers):
        start = time.perf_counter()
        reasons = pipeline.reasons(step)
        if reasons:
            tell(f"• {step.name}: {step.line}")
            moved = step.prepare(pipeline.memory.changes(step))
            if moved is not None:
                tell(moved)
            pipeline.memory.begin(step)
            with rows_needed(pipeline.rows_needed(step)):
                step.run()
            pipeline.memory.finish(step)
        else:
            tell(f"• {step.name}: unchanged")
        seconds = round(time.perf_counter() - start, 1)
        told.append(_told(step, "done" if reasons else "unchanged", seconds=seconds))
        if check is not None and step.name == pipeline.makers[0].name:
            check(pipeline.dataset())
    last = pipeline.makers[-1]
    for step in pipeline.last_steps():
        tell(f"• {step.name}: {step.line}")
        step.run()
        last = step
    return Worked(steps=told, seconds=time.perf_counter() - began, last=last.line)


def _rehearse(pipeline: Pipeline, step: Step, found: Rehearsal, *, is_ready: bool) -> bool:
    """Lets a step check its inputs, if they are there; whether its time is known."""
    if not is_ready or not step.can_be_dry:
        dataset = found.dataset or pipeline.dataset()
        return estimated_time.estimate_unmade(step, found, dataset, pipeline.judged)
    before = found.seconds
    with rows_needed(pipeline.rows_needed(step)):
        step.rehearse(pipeline.memory.changes(step))
    return found.seconds > before or estimated_time.is_instant(step)


def _foretold(step: Step, reasons: Sequence[str], tell: Tell) -> dict[str, Any]:
    """Says whether a step would run and why; returns it as JSON."""
    if reasons:
        tell(f"• {step.name}: to do ({'; '.join(reasons)}): {step.line}")
    else:
        tell(f"• {step.name}: unchanged")
    return _told(step, "to do" if reasons else "unchanged", reasons=reasons)


def _told(step: Step, state: str, **more: Any) -> dict[str, Any]:
    return {"step": step.name, "command": step.line, "state": state, **more}
