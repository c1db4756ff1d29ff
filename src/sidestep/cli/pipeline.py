"""`sidestep run`: one configuration from a user's files to recommendations in words.

A pipeline knows no data, no model and no metric: each of its steps is a command of the command
line, and the keys of its configuration are that command's options. So whatever a command learns, a
pipeline can do, and each step can be repeated by hand.
"""

import contextlib
import itertools
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import BaseModel, ConfigDict, Field, field_validator

from sidestep import __version__
from sidestep.cli.config import (
    AnyRun,
    TransformerRun,
    checked,
    checked_run,
    with_settings,
)
from sidestep.cli.console import print_json, say, without_hints
from sidestep.cli.inputs import load_dataset
from sidestep.cli.main import command_named
from sidestep.cli.options import AsJson
from sidestep.cli.plain_yaml import read_yaml, write_yaml
from sidestep.cli.steps import Memory, Settings, Step, arguments_of
from sidestep.training.loop import RESUMABLE

CONFIG_FILE = "sidestep.yaml"

_DATASET, _VECTORS, _CATALOG = "dataset", "vectors.npy", "catalog"
_REPORT = "report.html"
_TAKEN = {_DATASET, _CATALOG, "replaced"}
_RESUMABLE = "resumable"


class Sampled(BaseModel):
    """Whom to answer at the end."""

    model_config = ConfigDict(frozen=True, extra="allow")

    users: int = Field(3, ge=0)
    """Users of the dataset, spread evenly; none with zero."""


class PipelineConfig(BaseModel):
    """What a pipeline does; the sections hold options of the commands of the same name."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    out: Path = Path()
    """The folder to work in, seen from the configuration's."""

    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Of every step that draws."""

    importing: dict[str, Any] = Field(alias="import")
    """`from` says which kind of files, as in 'sidestep import KIND'."""

    embed: dict[str, Any] = Field(default_factory=dict)
    tokenize: dict[str, Any] = Field(default_factory=dict)

    train: dict[str, dict[str, Any]] = Field(min_length=1)
    """By name, runs as in configs/*.yaml."""

    evaluate: dict[str, Any] = Field(default_factory=dict)
    compare: dict[str, Any] = Field(default_factory=dict)
    recommend: Sampled = Sampled()

    @field_validator("embed", "tokenize", "evaluate", "compare", "recommend", mode="before")
    @classmethod
    def _nothing_is_empty(cls, section: Any) -> Any:
        """A section of comments alone, which YAML calls null."""
        return {} if section is None else section


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The steps of a configuration, in order.

    out: the folder they work in.
    runs: configurations of what is trained, by name.
    makers: steps that make something.
    comparison: of what was evaluated; cheap, so it is always made, with its page.
    sample: the step that recommends, still without a user.
    num_users: how many it is asked for.
    memory: of what the steps were last made from.
    """

    out: Path
    runs: dict[str, AnyRun]
    makers: list[Step]
    comparison: Step
    sample: Step
    num_users: int
    memory: Memory

    def as_found(self, step: Step) -> Step:
        """A step that knows the dataset as it lies there, which 'sidestep data split' may change.

        Where there is none, the import must run and makes what the step was last made from.
        """
        if step is self.makers[0]:
            return step
        path = self.out / _DATASET
        found = self.memory.sha256(path) if path.is_dir() else self.memory.input_of(step, _DATASET)
        inputs = {**step.made_from["inputs"], _DATASET: found}
        return replace(step, made_from={**step.made_from, "inputs": inputs})

    def reasons(self, step: Step) -> list[str]:
        """Why a step must run; empty if what it makes is there and up to date."""
        if changes := self.memory.changes(step):
            return changes
        if not self.memory.is_finished(step):
            return ["interrupted"]
        if step.product is not None and not step.product.exists():
            return [f"{step.product} is gone"]
        return []


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
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        told = _tell(pipeline) if dry_run else _work(pipeline)
    if json:
        print_json(told)


def read_pipeline(path: Path, settings: Sequence[str] = ()) -> Pipeline:
    """Reads a pipeline and checks all that can be known before it runs.

    Raises:
        FileNotFoundError: there is no configuration.
        ValueError: it is not one; names the file, the section and the option.
    """
    file = path / CONFIG_FILE if path.is_dir() else path
    content = with_settings(read_yaml(file), settings)
    return pipeline_of(checked(PipelineConfig, content, str(file)), file)


def pipeline_of(config: PipelineConfig, file: Path) -> Pipeline:
    """The steps of a configuration that stands in `file`.

    Raises:
        ValueError: see `read_pipeline`.
    """
    out = Path(os.path.relpath(file.parent / config.out))
    memory = Memory(out / "steps.json")
    build = _Builder(file=file, seed=config.seed, memory=memory)
    runs = {
        name: checked_run(content, f"{file}: train.{name}")
        for name, content in config.train.items()
    }
    for name in runs:
        if name in _TAKEN or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{file}: train: {name!r} is no name for a run; choose another.")

    sources = dict(config.importing)
    kind = str(sources.pop("from", "table"))
    dataset = build.step(
        "import", ("import", kind), sources, ["--out", out / _DATASET], out / _DATASET
    )
    makers = [dataset]
    catalog = dataset
    if any(isinstance(run, TransformerRun) for run in runs.values()):
        read = [out / _DATASET, "--out", out / _CATALOG]
        if "published" not in config.tokenize:
            wired = [out / _DATASET, "--out", out / _VECTORS]
            makers.append(
                build.step("embed", ("embed",), config.embed, wired, out / _VECTORS, [dataset])
            )
            read += ["--vectors", out / _VECTORS]
        catalog = build.step(
            "tokenize", ("tokenize",), config.tokenize, read, out / _CATALOG, [makers[-1]]
        )
        makers.append(catalog)

    evaluated = []
    for name, run in runs.items():
        is_coded = isinstance(run, TransformerRun)
        trained = build.training(name, run, out, catalog if is_coded else dataset, is_coded)
        wired = [out / name] if "split" in config.evaluate else [out / name, "--split", "test"]
        evaluated.append(
            build.step(
                f"evaluate {name}",
                ("evaluate",),
                config.evaluate,
                wired,
                out / name / "evaluations",
                [trained],
            )
        )
        makers += [trained, evaluated[-1]]
    split = str(config.evaluate.get("split", "test"))
    best = next((n for n, run in runs.items() if isinstance(run, TransformerRun)), [*runs][-1])
    return Pipeline(
        out=out,
        runs=runs,
        makers=makers,
        comparison=build.step(
            "compare",
            ("compare",),
            config.compare,
            [*(out / name for name in runs), "--split", split, "--report", out / _REPORT],
            None,
            evaluated,
        ),
        sample=build.step(
            "recommend",
            ("recommend",),
            config.recommend.model_extra or {},
            [out / best, "--user", ""],
            None,
            evaluated,
        ),
        num_users=config.recommend.users,
        memory=memory,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Builder:
    """Makes steps of the sections of a file."""

    file: Path
    seed: int
    memory: Memory

    def step(
        self,
        name: str,
        words: tuple[str, ...],
        settings: Settings,
        wired: Sequence[object],
        product: Path | None,
        after: Sequence[Step] = (),
    ) -> Step:
        """A step whose settings are options of its command."""
        where = f"{self.file}: {words[0]}"
        try:
            command = command_named(*words)
        except KeyError as error:
            raise ValueError(f"{where}: {error.args[0]}") from error
        fixed = [str(word) for word in wired]
        takes_seed = any("--seed" in option.opts for option in command.params)
        if takes_seed and "seed" not in settings:
            fixed += ["--seed", str(self.seed)]
        arguments, inputs = arguments_of(
            command, settings, fixed, folder=self.file.parent, where=where
        )
        # Where a file lies changes nothing; what it is called may.
        values = {key: value for key, value in settings.items() if key not in inputs}
        return Step(
            name=name,
            words=("sidestep", *words),
            command=command,
            arguments=tuple(arguments),
            product=product,
            made_from={
                "settings": {"seed": self.seed, **values} if takes_seed else values,
                "inputs": {
                    key: f"{path.name} {self.memory.sha256(path)}" for key, path in inputs.items()
                },
                "after": {step.name: step.digest for step in after},
                "version": __version__,
            },
        )

    def training(self, name: str, run: AnyRun, out: Path, after: Step, is_coded: bool) -> Step:
        """A step whose settings are the configuration of a run."""
        wired = ["--config", out / f"{name}.yaml", "--dataset", out / _DATASET]
        wired += ["--catalog", out / _CATALOG] if is_coded else []
        step = self.step(
            f"train {name}",
            ("train",),
            {},
            [*wired, "--out", out / name],
            out / name / "bundle",
            [after],
        )
        settings = {**run.model_dump(mode="json"), "seed": self.seed}
        how = settings.get("training", {})
        resumable = {key: how.pop(key) for key in RESUMABLE if key in how}
        made_from = {**step.made_from, "settings": settings, _RESUMABLE: resumable}
        return replace(step, made_from=made_from)


def _work(pipeline: Pipeline) -> dict[str, Any]:
    """Runs what has to be run; returns what was done."""
    began = time.perf_counter()
    told = []
    with without_hints():
        for step in map(pipeline.as_found, pipeline.makers):
            start = time.perf_counter()
            reasons = pipeline.reasons(step)
            if reasons:
                _announce(step)
                _prepare(pipeline, step)
                pipeline.memory.begin(step)
                step.run()
                pipeline.memory.finish(step)
            else:
                say(f"• {step.name}: unchanged")
            seconds = round(time.perf_counter() - start, 1)
            told.append(_told(step, "done" if reasons else "unchanged", seconds=seconds))
        _announce(pipeline.comparison)
        pipeline.comparison.run()
        for step in _samples(pipeline):
            _announce(step)
            step.run()
    seconds = time.perf_counter() - began
    say(f"Done in {seconds:,.0f} s. More: {_line(pipeline.sample).replace(chr(39) * 2, 'USER')}")
    return {"out": str(pipeline.out), "steps": told, "seconds": round(seconds, 1)}


def _tell(pipeline: Pipeline) -> dict[str, Any]:
    """Says what would be run and why, and lets commands check their inputs."""
    told: list[dict[str, Any]] = []
    stale: set[str] = set()
    for step in map(pipeline.as_found, pipeline.makers):
        reasons = pipeline.reasons(step)
        told.append(_told(step, "to do" if reasons else "unchanged", reasons=reasons))
        if not reasons:
            say(f"• {step.name}: unchanged")
            continue
        say(f"• {step.name}: to do ({'; '.join(reasons)}): {_line(step)}")
        if step.can_be_dry and not stale.intersection(step.made_from["after"]):
            _try(pipeline, step)
        stale.add(step.name)
    say("Nothing was written.")
    return {"out": str(pipeline.out), "steps": told}


def _try(pipeline: Pipeline, step: Step) -> None:
    """Lets a command check its inputs, as they will be when it runs."""
    kind, _, name = step.name.partition(" ")
    if kind != "train":
        step.run("--dry-run")
        return
    # The pipeline writes the configuration, and moves a stale run away, just before the training.
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / f"{name}.yaml"
        write_yaml(config, pipeline.runs[name].model_dump(mode="json"))
        instead = ["--config", str(config)]
        if _stale_run(pipeline, step) is not None:
            instead += ["--out", str(Path(folder) / name)]
        step.run(*instead, "--dry-run")


def _stale_run(pipeline: Pipeline, step: Step) -> Path | None:
    """The folder of a run that a training must not continue, as it was made from other things."""
    assert step.product is not None
    folder = step.product.parent
    changes = pipeline.memory.changes(step)
    is_other = changes != ["never run"] and any(not c.startswith(_RESUMABLE) for c in changes)
    return folder if is_other and folder.exists() else None


def _prepare(pipeline: Pipeline, step: Step) -> None:
    """Writes the configuration that a training reads, and puts a stale run out of its way."""
    kind, _, name = step.name.partition(" ")
    if kind != "train":
        return
    changes = pipeline.memory.changes(step)
    if (folder := _stale_run(pipeline, step)) is not None:
        place = pipeline.out / "replaced"
        place.mkdir(exist_ok=True)
        number = next(n for n in itertools.count(1) if not (place / f"{name}-{n}").exists())
        shutil.move(folder, place / f"{name}-{number}")
        say(f"Moved the run of before to {place / f'{name}-{number}'}: {'; '.join(changes[:3])}.")
    write_yaml(pipeline.out / f"{name}.yaml", pipeline.runs[name].model_dump(mode="json"))


def _samples(pipeline: Pipeline) -> Iterator[Step]:
    """The step that recommends, for each of some users."""
    if not pipeline.num_users:
        return
    users = load_dataset(pipeline.out / _DATASET).histories().user_ids
    for row in np.linspace(0, len(users) - 1, min(pipeline.num_users, len(users)), dtype=int):
        arguments = [users[row] if word == "" else word for word in pipeline.sample.arguments]
        yield replace(pipeline.sample, arguments=tuple(arguments))


def _announce(step: Step) -> None:
    say(f"• {step.name}: {_line(step)}")


def _line(step: Step) -> str:
    return shlex.join([*step.words, *step.arguments])


def _told(step: Step, state: str, **more: Any) -> dict[str, Any]:
    return {"step": step.name, "command": _line(step), "state": state, **more}
