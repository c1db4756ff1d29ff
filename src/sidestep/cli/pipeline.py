"""A pipeline: from a user's files to recommendations in words, as steps that remember.

It knows no data, no model and no metric: each of its steps is a command of the command line, and
the keys of its configuration are that command's options. So whatever a command learns, a pipeline
can do, and each step can be repeated by hand. What to do with the steps says `run_pipeline`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sidestep import __version__
from sidestep.cli.config import TransformerRun, checked, checked_run, with_settings
from sidestep.cli.inputs import load_dataset
from sidestep.cli.main import command_named
from sidestep.cli.pipeline_config import CONFIG_FILE, PipelineConfig
from sidestep.cli.plain_yaml import read_yaml
from sidestep.cli.steps import Memory, Settings, Step, arguments_of
from sidestep.cli.training_step import Training

_DATASET, _VECTORS, _CATALOG = "dataset", "vectors.npy", "catalog"
_REPORT, _REPLACED = "report.html", "replaced"
_TAKEN = {_DATASET, _CATALOG, _REPLACED}

_ANY_USER = "USER"
"""Stands in the command that recommends, until it is asked for someone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The steps of a configuration, in order.

    out: the folder they work in.
    makers: steps that make something.
    comparison: of what was evaluated; cheap, so it is always made, with its page.
    sample: the step that recommends, for any user.
    num_users: how many users are answered.
    memory: of what the steps were last made from.
    """

    out: Path
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

    def samples(self) -> Iterator[Step]:
        """The step that recommends, for each of some users, spread evenly over the dataset."""
        if not self.num_users:
            return
        users = load_dataset(self.out / _DATASET).histories().user_ids
        for row in np.linspace(0, len(users) - 1, min(self.num_users, len(users)), dtype=int):
            place = self.sample.arguments.index("--user") + 1
            before, after = self.sample.arguments[:place], self.sample.arguments[place + 1 :]
            yield replace(self.sample, arguments=(*before, users[row], *after))


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
        read = ["--dataset", out / _DATASET, *(["--catalog", out / _CATALOG] if is_coded else [])]
        trained = build.training(
            Training(
                run=run, config=out / f"{name}.yaml", folder=out / name, replaced=out / _REPLACED
            ),
            read,
            catalog if is_coded else dataset,
        )
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
            [out / best, "--user", _ANY_USER],
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

    def training(self, training: Training, wired: Sequence[object], after: Step) -> Step:
        """A step whose settings are the configuration of a run."""
        step = self.step(
            f"train {training.folder.name}",
            ("train",),
            {},
            ["--config", training.config, *wired, "--out", training.folder],
            training.folder / "bundle",
            [after],
        )
        made_from = {**step.made_from, **training.made_from(self.seed)}
        return replace(step, made_from=made_from, training=training)
