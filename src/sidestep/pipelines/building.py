"""Builds the steps of a pipeline: settings become arguments, products and memories of commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from sidestep.pipelines.commands import FindCommand
from sidestep.pipelines.memory import Memory
from sidestep.pipelines.steps import Settings, Step, arguments_of
from sidestep.pipelines.training_step import Training
from sidestep.runs.run_config import RunConfig
from sidestep.version import __version__

DATASET = "dataset"
"""The folder of the dataset, within that of a pipeline."""

REPLACED = "replaced"
"""The folder for runs that are out of date, within that of a pipeline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBuilder:
    """Builds steps that work in one folder.

    where: what declares the settings, for errors: a file or the name of a table.
    folder: paths in settings start here.
    out: the folder that the steps work in.
    seed: of every step that draws.
    memory: of what the steps were last made from.
    find: finds the commands.
    """

    where: str
    folder: Path
    out: Path
    seed: int
    memory: Memory
    find: FindCommand

    def step(
        self,
        section: str,
        settings: Settings,
        wired: Sequence[object],
        *,
        words: tuple[str, ...] = (),
        of: str = "",
        product: Path | None = None,
        after: Sequence[Step] = (),
        others: Sequence[str] = (),
    ) -> Step:
        """A step whose settings are options of its command.

        Args:
            section: of the file, where the settings stand.
            settings: by option.
            wired: arguments that the pipeline itself decides.
            words: of the command, where it is not called like the section.
            of: the run, where the section is for several.
            product: what the command makes, if anything.
            after: the steps whose products it reads.
            others: further keys of the section, which are no options.
        """
        where = f"{self.where}: {section}"
        words = words or (section,)
        settings = {key: _plain(value) for key, value in settings.items()}
        try:
            command = self.find(*words)
        except KeyError as error:
            raise ValueError(f"{where}: {error.args[0]}") from error
        fixed = [str(word) for word in wired]
        takes_seed = any("--seed" in option.all_names for option in command.options)
        if takes_seed and "seed" not in settings:
            fixed += ["--seed", str(self.seed)]
        arguments, inputs = arguments_of(
            command, settings, fixed, folder=self.folder, where=where, others=others
        )
        # Where a file lies changes nothing; what it is called may.
        values = {key: value for key, value in settings.items() if key not in inputs}
        return Step(
            name=f"{section} {of}".strip(),
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

    def training(
        self,
        name: str,
        run: RunConfig,
        *,
        catalog: Path | None,
        vectors: Path | None = None,
        after: Sequence[Step],
    ) -> Step:
        """A step whose settings are the configuration of a run.

        Args:
            name: of the run and of its folder.
            run: the configuration; the paths that it names are seen from `out`.
            catalog: the catalog of the run; None for a run that is given none.
            vectors: the item vectors that the run reads, if another step makes them; else None.
            after: the steps whose products it reads.
        """
        training = Training(
            run=run,
            config=self.out / f"{name}.yaml",
            folder=self.out / name,
            replaced=self.out / REPLACED,
            vectors=vectors,
        )
        wired: list[object] = ["--config", training.config, "--dataset", self.out / DATASET]
        if catalog is not None:
            wired += ["--catalog", catalog]
        wired += ["--out", training.folder]
        step = self.step(
            "train", {}, wired, of=name, product=training.folder / "bundle", after=after
        )
        made_from = {**step.made_from, **training.made_from(self.seed)}
        return replace(step, made_from=made_from, training=training)


def _plain(value: Any) -> Any:
    """A setting as commands and JSON have it: YAML alone makes a date of 2018-07-01."""
    return value.isoformat() if isinstance(value, date) else value
