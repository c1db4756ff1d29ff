"""The plan of a table on one data set: a pipeline, and the evaluations that its rows read."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sidestep.pipelines.building import DATASET, StepBuilder
from sidestep.pipelines.commands import FindCommand
from sidestep.pipelines.memory import Memory
from sidestep.pipelines.pipeline import VECTORS, Pipeline, dataset_steps
from sidestep.pipelines.steps import Step
from sidestep.reproduction.declarations import Kit, Row, Seen, Table
from sidestep.reproduction.fast import NUM_USERS, small_catalog, small_run
from sidestep.runs.config import checked_run
from sidestep.runs.recipes import settings_of
from sidestep.runs.run_config import LearnedRun, RunConfig
from sidestep.runs.settings import lay_over

_DATA_SEED = 0
"""The seed of vectors and semantic IDs, which all seeds of the trainings share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluations:
    """The evaluations of one row of a table, on one data set.

    row: of the table.
    seen: the place of seen items.
    runs: the folder of the run of each seed.
    commands: the command that makes the evaluation of each seed, as a shell has it.
    users: the rows that are evaluated, as results have it: "all", or a number of users.
    """

    row: Row
    seen: Seen
    runs: tuple[Path, ...]
    commands: tuple[str, ...]
    users: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A table on one data set.

    data: our name of the data set.
    pipeline: its steps; the last ones evaluate.
    evaluations: what the rows of the table read, in the order of the table.
    """

    data: str
    pipeline: Pipeline
    evaluations: Sequence[Evaluations]


def plan_table(
    name: str,
    table: Table,
    kit: Kit,
    data: str,
    *,
    source: Path,
    out: Path,
    num_seeds: int,
    is_fast: bool,
    find: FindCommand,
) -> Planned:
    """Plans a table on one of its data sets.

    Args:
        name: of the table, for errors.
        table: its declaration.
        kit: what it refers to.
        data: our name of the data set.
        source: the folder of the data set's files.
        out: the folder to work in; tables with the same folder share steps.
        num_seeds: trainings of every run that learns.
        is_fast: whether everything is small.
        find: finds the commands.

    Raises:
        FileNotFoundError: `source` is not there.
    """
    planner = _Planner(
        table=table,
        kit=kit,
        data=data,
        is_fast=is_fast,
        build=StepBuilder(
            where=f"table {name}",
            folder=source,
            out=Path(os.path.relpath(out)),
            seed=_DATA_SEED,
            memory=Memory(out / "steps.json"),
            find=find,
        ),
    )
    evaluations = [*planner.evaluations(num_seeds)]
    return Planned(
        data=data,
        pipeline=Pipeline(
            out=planner.build.out,
            makers=[*planner.steps.values()],
            judged="test",
            memory=planner.build.memory,
        ),
        evaluations=evaluations,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planner:
    """Makes the steps that rows need, each once, those that a step reads before the step."""

    table: Table
    kit: Kit
    data: str
    is_fast: bool
    build: StepBuilder
    steps: dict[str, Step] = field(default_factory=dict)

    def evaluations(self, num_seeds: int) -> Iterator[Evaluations]:
        """The evaluations of all rows that have a run here, whose steps are then made."""
        for row in self.table.rows:
            if row.run is None or self.data not in (row.data or self.table.data):
                continue
            seeds = range(num_seeds if self._learns(row.run) else 1)
            trained = [self._trained(row.run, seed) for seed in seeds]
            folders = tuple(self.build.out / self._folder(row.run, seed) for seed in seeds)
            for seen in self.table.seen:
                steps = [
                    self._evaluated(row, seen, step, folder)
                    for step, folder in zip(trained, folders, strict=True)
                ]
                yield Evaluations(
                    row=row,
                    seen=seen,
                    runs=folders,
                    commands=tuple(step.line for step in steps),
                    users=str(NUM_USERS) if self.is_fast else "all",
                )

    def _evaluated(self, row: Row, seen: Seen, trained: Step, folder: Path) -> Step:
        """The step that measures a run."""
        wired: list[object] = [folder, "--split", "test", "--method", row.name]
        if seen == "left-out":
            wired.append("--exclude-seen")
        if self.is_fast:
            wired += ["--users", NUM_USERS]
        return self._once(
            f"evaluate {folder.name} {row.name} {seen}",
            lambda of: self.build.step(
                "evaluate",
                row.search,
                wired,
                of=of,
                product=folder / "evaluations",
                after=[trained],
            ),
        )

    def _trained(self, name: str, seed: int) -> Step:
        """The step that makes a run, after the steps that it needs."""
        declared = self.kit.run(name)
        if declared.ranker is not None:
            return self._attached(name, seed)
        run = self._config(name)
        after = [self._imported()]
        if declared.catalog is not None:
            after.append(self._catalog(declared.catalog))
        if declared.backbone is not None:
            after.append(self._trained(declared.backbone, seed))
            run = run.model_copy(update={"backbone": self._folder(declared.backbone, seed)})
        vectors = None
        if getattr(run, "embeddings", None) is not None:
            after.append(self._vectors())
            vectors = self.build.out / VECTORS
        catalog = None if declared.catalog is None else self._catalog_folder(declared.catalog)
        return self._once(
            f"train {self._folder(name, seed)}",
            lambda of: replace(self.build, seed=seed).training(
                of, run, catalog=catalog, vectors=vectors, after=after
            ),
        )

    def _attached(self, name: str, seed: int) -> Step:
        """The step that puts a ranker beside a run, after both."""
        declared, out = self.kit.run(name), self.build.out
        assert declared.backbone is not None, "refused in the declaration"
        assert declared.ranker is not None, "asked of a run with a ranker"
        of_ranker = seed if self._learns(declared.ranker) else 0
        after = [self._trained(declared.backbone, seed), self._trained(declared.ranker, of_ranker)]
        folder = self._folder(name, seed)
        wired = [
            out / self._folder(declared.backbone, seed),
            "--ranker",
            out / self._folder(declared.ranker, of_ranker),
            "--out",
            out / folder,
        ]
        return self._once(
            f"attach {folder}",
            lambda of: self.build.step(
                "attach",
                {**declared.settings, **declared.per_data.get(self.data, {})},
                wired,
                of=of,
                product=out / folder / "bundle",
                after=after,
            ),
        )

    def _learns(self, name: str) -> bool:
        """Whether a run, or the run that a ranker stands beside, has a training per seed."""
        declared = self.kit.run(name)
        if declared.ranker is not None:
            assert declared.backbone is not None, "refused in the declaration"
            return self._learns(declared.backbone)
        return isinstance(self._config(name), LearnedRun)

    def _config(self, name: str) -> RunConfig:
        """The configuration of a run on this data set; its paths are seen from the work folder."""
        declared = self.kit.run(name)
        content = copy.deepcopy(
            settings_of(declared.recipe) if declared.recipe is not None else declared.config
        )
        if declared.backbone is not None:
            content["backbone"] = declared.backbone
        if declared.recipe == "sft-continued":
            assert declared.backbone is not None
            content["objective"]["likelihood"] = self._first_objective(declared.backbone)
        for key, value in {**declared.settings, **declared.per_data.get(self.data, {})}.items():
            lay_over(content, key, value, f"run {name}")
        run = checked_run(self._filled(content), f"run {name}")
        return small_run(run) if self.is_fast else run

    def _first_objective(self, name: str) -> dict[str, Any]:
        """The objective of the supervised training that a run rests on."""
        declared = self.kit.run(name)
        if declared.backbone is not None:
            return self._first_objective(declared.backbone)
        objective = self._config(name).model_dump(mode="json")["objective"]
        assert isinstance(objective, dict)
        return objective

    def _filled(self, value: Any) -> Any:
        """Nested plain values with the data set's own values in the places of `$name`."""
        if isinstance(value, dict):
            return {key: self._filled(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._filled(part) for part in value]
        if isinstance(value, str) and value.startswith("$"):
            values = {**self.kit.data[self.data].values, "vectors": VECTORS}
            return values[value.removeprefix("$")]
        return value

    def _catalog(self, name: str) -> Step:
        settings = dict(self.kit.catalogs[name])
        vectors, path = self._vectors(), self._catalog_folder(name)
        wired = [self.build.out / DATASET, "--vectors", self.build.out / VECTORS, "--out", path]
        return self._once(
            f"tokenize {name}",
            lambda of: self.build.step(
                "tokenize",
                small_catalog(settings) if self.is_fast else settings,
                wired,
                of=of,
                product=path,
                after=[vectors],
            ),
        )

    def _vectors(self) -> Step:
        imported, path = self._imported(), self.build.out / VECTORS
        wired = [self.build.out / DATASET, "--out", path]
        return self._once(
            "embed",
            lambda of: self.build.step(
                "embed",
                self.kit.data[self.data].embed,
                wired,
                of=of,
                product=path,
                after=[imported],
            ),
        )

    def _imported(self) -> Step:
        """The last step that makes the dataset."""
        data = self.kit.data[self.data]
        steps = dataset_steps(self.build, data.importing, data.split, name=self.data)
        for step in steps:
            self.steps.setdefault(step.name, step)
        return self.steps[steps[-1].name]

    def _once(self, name: str, make: Callable[[str], Step]) -> Step:
        """The step of a name, made if it is new; `make` is given the name without its section."""
        if name not in self.steps:
            self.steps[name] = make(name.partition(" ")[2])
        return self.steps[name]

    def _catalog_folder(self, name: str) -> Path:
        return self.build.out / f"catalog-{name}"

    def _folder(self, name: str, seed: int) -> str:
        """The name of a run's folder."""
        return f"{name}-{seed}"
