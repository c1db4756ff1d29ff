"""Runs of a pipeline: those that it trains, and those that it makes of other runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.pipelines.building import DATASET, REPLACED
from sidestep.pipelines.config import Aligned, Attached, PipelineConfig
from sidestep.runs.config import checked_run
from sidestep.runs.recipes import settings_of
from sidestep.runs.run_config import BackboneRun, RunConfig

with imported_when_used():
    from sidestep.evaluation import results

CATALOG = "catalog"
"""The folder of the catalog, within that of a pipeline."""

_TAKEN = {DATASET, CATALOG, REPLACED}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A run that a pipeline makes.

    name: of the run and of its folder.
    section: of the file; its command makes the run.
    config: the configuration of the run. A run with a ranker beside it has the one of the run that
        it was made of.
    needs: the names of the runs that it is made of.
    label: names the run in results, where no search does: its kind, or the recipe that improved it.
    is_searched: whether a search over semantic IDs recommends.
    is_improved: whether a recipe has improved the run, or the run that a ranker stands beside.
    ranker: the kind of the ranker beside the run; None where there is none.
    """

    name: str
    section: Literal["train", "attach", "align"]
    config: RunConfig
    needs: tuple[str, ...] = ()
    label: str
    is_searched: bool
    is_improved: bool = False
    ranker: str | None = None

    def is_like(self, other: PlannedRun) -> bool:
        """Whether both runs may get one name in results, unless the pipeline gives them others."""
        ours, theirs = ((run.section, run.label, run.ranker) for run in (self, other))
        return ours == theirs


Runs = Mapping[str, PlannedRun]


def planned_runs(config: PipelineConfig, where: str) -> dict[str, PlannedRun]:
    """The runs of a pipeline by name, each after those that it is made of.

    Args:
        config: of the pipeline.
        where: the file, for errors.

    Raises:
        ValueError: a name cannot be one of a run, a run is made of one that is not there or of
            itself, or the settings of a run are not valid; says where and what to do.
    """
    _refuse_names(config, where)
    runs = {name: _trained(name, config, where) for name in config.train}
    derived: dict[str, Attached | Aligned] = {**config.attach, **config.align}
    for name, run in derived.items():
        _refuse_unknown(name, run, config, where)
    while derived:
        ready = [name for name, run in derived.items() if runs.keys() >= {*run.needs.values()}]
        if not ready:
            raise ValueError(
                f"{where}: {' and '.join(derived)} are made of each other, so that none can be the "
                "first; let one of them start from a run under train."
            )
        for name in ready:
            run = derived.pop(name)
            if isinstance(run, Attached):
                runs[name] = _attached(name, run, runs)
            else:
                runs[name] = _aligned(name, run, runs, where)
    return runs


def method_of(run: PlannedRun, runs: Runs, search: str | None) -> str | None:
    """The name of a run in results; None leaves the name to the evaluation.

    Results know runs by their method. Runs whose methods would be the same get a name that ends
    with the name of the run. So does every run that a recipe has improved: its search may be the
    one of the run before, which keeps its name.

    Args:
        run: one of `runs`.
        runs: all runs of the pipeline.
        search: of all evaluations; None where validation chooses one after the training.
    """
    if not run.is_improved and sum(run.is_like(other) for other in runs.values()) == 1:
        return None
    start = (search if run.is_searched else None) or run.label
    return f"{results.method_part(start)}-{results.method_part(run.name)}"


def _refuse_names(config: PipelineConfig, where: str) -> None:
    """Raises a `ValueError` where a name is none for a run, or names two runs."""
    seen: dict[str, str] = {}
    for section in ("train", "attach", "align"):
        for name in getattr(config, section):
            if name in _TAKEN or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(
                    f"{where}: {section}: {name!r} is no name for a run; choose another."
                )
            if name in seen:
                raise ValueError(
                    f"{where}: {section}: {name!r} is a run of {seen[name]}; choose another name."
                )
            seen[name] = section


def _refuse_unknown(name: str, run: Attached | Aligned, config: PipelineConfig, where: str) -> None:
    """Raises a `ValueError` where a run is made of one that the file does not make."""
    is_attached = isinstance(run, Attached)
    for key, needed in run.needs.items():
        sections = ["train", "attach", "align"]
        if is_attached:  # one ranker beside a run, and nothing beside a ranker
            sections = ["train"] if key == "ranker" else ["train", "align"]
        legal = [other for section in sections for other in getattr(config, section)]
        if needed not in legal:
            raise ValueError(
                f"{where}: {'attach' if is_attached else 'align'}.{name}.{key}: there is no "
                f"{needed!r} under {' or '.join(sections)}; there are {', '.join(legal)}."
            )


def _trained(name: str, config: PipelineConfig, where: str) -> PlannedRun:
    run = checked_run(config.train[name], f"{where}: train.{name}")
    if isinstance(run, BackboneRun):
        raise ValueError(
            f"{where}: train.{name}: {run.kind} goes by a finished run, which the section train "
            "does not wait for. A recipe of 'sidestep align' may stand under align; train anything "
            "else with 'sidestep train' afterwards."
        )
    return PlannedRun(
        name=name, section="train", config=run, label=run.kind, is_searched=run.is_searched
    )


def _attached(name: str, attached: Attached, runs: Runs) -> PlannedRun:
    run, ranker = runs[attached.run], runs[attached.ranker]
    return PlannedRun(
        name=name,
        section="attach",
        config=run.config,
        needs=(run.name, ranker.name),
        label=run.label,
        is_searched=run.is_searched,
        is_improved=run.is_improved,
        ranker=ranker.config.kind,
    )


def _aligned(name: str, aligned: Aligned, runs: Runs, where: str) -> PlannedRun:
    first = _first(runs[aligned.run], runs)
    content = settings_of(aligned.recipe, network=first.config.kind) | {"backbone": aligned.run}
    if aligned.recipe == "sft-continued":
        content["objective"]["likelihood"] = first.config.model_dump(mode="json").get(
            "objective", {}
        )
    if aligned.teachers:
        content["teachers"] = aligned.teachers
    return PlannedRun(
        name=name,
        section="align",
        config=checked_run(_over(content, aligned.model_extra or {}), f"{where}: align.{name}"),
        needs=(aligned.run, *aligned.teachers),
        label=aligned.recipe,
        is_searched=runs[aligned.run].is_searched,
        is_improved=True,
    )


def _over(content: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Nested plain values with other ones laid over them."""
    return content | {
        key: _over(content[key], value)
        if isinstance(value, dict) and isinstance(content.get(key), dict)
        else value
        for key, value in more.items()
    }


def _first(run: PlannedRun, runs: Runs) -> PlannedRun:
    """The supervised training that a run rests on."""
    while run.needs:
        run = runs[run.needs[0]]
    return run
