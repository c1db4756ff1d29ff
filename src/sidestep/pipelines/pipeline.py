"""A pipeline: from a user's files to recommendations in words, as steps.

A pipeline knows no data, no model and no metric: each of its steps is a command, and the keys of
its configuration are the options of that command. So a pipeline can do whatever a command can, and
each step can be repeated by hand. `work` runs the steps.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sidestep.data.dataset import SPLIT_FOLDER, Dataset
from sidestep.data.splits import SplitName
from sidestep.lazy_imports import imported_when_used
from sidestep.pipelines.building import DATASET, StepBuilder
from sidestep.pipelines.commands import FindCommand
from sidestep.pipelines.config import CONFIG_FILE, Attached, PipelineConfig, users_of
from sidestep.pipelines.memory import Memory
from sidestep.pipelines.planned_runs import CATALOG, PlannedRun, Runs, method_of, planned_runs
from sidestep.pipelines.steps import Settings, Step
from sidestep.runs.inputs import load_dataset
from sidestep.runs.plain_yaml import read_yaml
from sidestep.runs.settings import checked, with_settings

with imported_when_used():
    from sidestep.evaluation import compare as comparing
    from sidestep.runs import kept_evaluations

VECTORS, _REPORT = "vectors.npy", "report.html"

_SPLIT = "split"

_JUDGED: SplitName = "validation"
"""The rows that are evaluated and compared, unless the file says otherwise."""

_OF_SEARCHES = frozenset(
    {
        *("search", "beams", "candidates", "likelihood-weight", "budget", "search-option"),
        *("codes", "precision"),
    }
)
"""Options that only runs with semantic IDs can use."""

_BEST_BY = "NDCG@10"
"""The metric by which the run that recommends is chosen."""

_ANY_USER = "USER"
"""The place of the user in the command that recommends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The steps of a configuration, in order.

    out: the folder that the steps work in.
    makers: steps that make something; the first imports the dataset.
    judged: the rows of the dataset that runs are judged by.
    rows: so many of these rows, or all of them.
    exclude_seen: whether the lists that are compared leave out seen items.
    memory: of what the steps were last made from.
    comparison: the step that compares the evaluations and writes the page; it is cheap, and always
        runs. None where nothing is compared.
    samples: the step that recommends, by the name of the run, with a placeholder for the user;
        empty where nobody gets recommendations.
    answering: the name of the run that recommends; None takes the best on validation.
    num_users: number of users to recommend to.
    """

    out: Path
    makers: list[Step]
    judged: SplitName
    memory: Memory
    rows: int | Literal["all"] = "all"
    exclude_seen: bool = False
    comparison: Step | None = None
    samples: Mapping[str, Step] = field(default_factory=dict)
    answering: str | None = None
    num_users: int = 0

    def rows_needed(self, step: Step) -> SplitName | None:
        """The rows that the dataset must have after a step that makes or reads it.

        None for steps after which the dataset is split anew.
        """
        later = itertools.dropwhile(lambda other: other.name != step.name, self.makers)
        return None if any(other.is_only_maker for other in later) else self.judged

    def as_found(self, step: Step) -> Step:
        """A step made from the dataset that is on disk, which 'sidestep data split' may change.

        Where there is no dataset, the import must run, and makes the dataset that the step was last
        made from.
        """
        if self.memory.has_begun(step.name):  # what stands there is then the pipeline's own
            step = step.overwriting
        if step.name == self.makers[0].name or step.is_only_maker:
            return step
        path = self.out / DATASET
        found = self.memory.sha256(path) if path.is_dir() else self.memory.input_of(step, DATASET)
        inputs = {**step.made_from["inputs"], DATASET: found}
        return replace(step, made_from={**step.made_from, "inputs": inputs})

    def reasons(self, step: Step) -> list[str]:
        """The reasons why a step must run; none if its product is there and up to date."""
        if changes := self.memory.changes(step):
            return changes
        if not self.memory.is_finished(step):
            return ["interrupted"]
        if step.product is not None and not step.product.exists():
            return [f"{step.product} is gone"]
        if step.product is not None and self.memory.was_product_changed(step):
            return [f"{step.product} was changed by another command"]
        return []

    def dataset(self) -> Dataset:
        """The dataset that is on disk."""
        return load_dataset(self.out / DATASET)

    def last_steps(self) -> Iterator[Step]:
        """The steps that always run at the end: the comparison, and a recommendation per user.

        The users are spread evenly over the dataset.
        """
        if self.comparison is not None:
            yield self.comparison
        if not self.samples or not self.num_users:
            return
        sample = self.samples[self.answering or self._best_run()]
        users = self.dataset().histories().user_ids
        for row in np.linspace(0, len(users) - 1, min(self.num_users, len(users)), dtype=int):
            place = sample.arguments.index("--user") + 1
            before, after = sample.arguments[:place], sample.arguments[place + 1 :]
            yield replace(sample, arguments=(*before, users[row], *after))

    def _best_run(self) -> str:
        """The run with the best NDCG@10 in the comparison; the first one of equals."""

        found = kept_evaluations.comparable_evaluations(
            [self.out / name for name in self.samples], self.judged, self.rows, self.exclude_seen
        )
        scores: dict[Path, float] = {}
        for file, run in found:
            folder = file.parents[2]
            score = float(comparing.metrics_by_seed([run])[_BEST_BY].mean())
            scores[folder] = max(score, scores.get(folder, score))
        return max(self.samples, key=lambda name: scores[self.out / name])


def read_pipeline(path: Path, settings: Sequence[str] = (), *, find: FindCommand) -> Pipeline:
    """Reads a pipeline and checks all that can be known before it runs.

    Args:
        path: the file, or the folder that holds it as `CONFIG_FILE`.
        settings: over the file, as key=value.
        find: finds the commands that the pipeline is made of.

    Raises:
        FileNotFoundError: there is no configuration.
        ValueError: the file is no configuration of a pipeline; names the file, the section and the
            option.
    """
    file = path / CONFIG_FILE if path.is_dir() else path
    content = with_settings(read_yaml(file), settings)
    return pipeline_of(
        checked(PipelineConfig, content, str(file), settings=settings), file, find=find
    )


def pipeline_of(config: PipelineConfig, file: Path, *, find: FindCommand) -> Pipeline:
    """The steps of a configuration that stands in `file`.

    Raises:
        ValueError: see `read_pipeline`.
    """
    out = Path(os.path.relpath(file.parent / config.out))
    memory = Memory(out / "steps.json")
    build = StepBuilder(
        where=str(file),
        folder=file.parent,
        out=out,
        seed=config.seed,
        memory=memory,
        find=find,
    )
    runs = planned_runs(config, str(file))
    coded = [
        run.name for run in runs.values() if run.section == "train" and run.config.needs_catalog
    ]
    compared = [run.name for run in runs.values() if _reads_vectors(out, run)]
    if compared and "published" in config.tokenize:
        raise ValueError(
            f"{file}: {runs[compared[0]].section}.{compared[0]}.embeddings: the pipeline makes no "
            "vectors, because tokenize takes published IDs; name a file of 'sidestep embed', or "
            "leave the key out."
        )

    dataset = dataset_steps(build, config.importing, config.split)
    embeds = (coded or compared) and "published" not in config.tokenize
    vectors = [_vectors(build, config, dataset)] if embeds else []
    catalog = [_catalog(build, config, vectors or dataset)] if coded else []
    makers = [*dataset, *vectors, *catalog]
    made: dict[str, Step] = {}
    evaluated: list[Step] = []
    for name, run in runs.items():
        needs = [made[needed] for needed in run.needs]
        if run.section == "attach":
            made[name] = _attached(build, run, config.attach[name], needs)
        else:
            read = vectors if name in compared else dataset
            made[name] = build.training(
                name,
                run.config,
                catalog=out / CATALOG if name in coded else None,
                vectors=out / VECTORS if name in compared else None,
                after=[*(catalog if name in coded else read), *needs],
            )
        evaluated.append(_evaluation(build, run, config, runs, made[name]))
        makers += [made[name], evaluated[-1]]
    split: SplitName = "test" if config.evaluate.get("split") == "test" else _JUDGED
    named = {key.replace("_", "-"): value for key, value in config.evaluate.items()}
    seen = "--exclude-seen" if named.get("exclude-seen") else "--include-seen"
    sampled = config.recommend.model_extra or {}
    samples = {
        name: build.step(
            "recommend",
            sampled if run.is_searched else _without_search(sampled),
            [out / name, "--user", _ANY_USER],
            after=evaluated,
            others=("users", "run"),
        )
        for name, run in runs.items()
    }
    return Pipeline(
        out=out,
        makers=makers,
        comparison=build.step(
            "compare",
            config.compare,
            [
                *(out / name for name in runs),
                "--split",
                split,
                seen,
                "--report",
                out / _REPORT,
            ],
            after=evaluated,
        ),
        samples=samples,
        answering=_answering(config.recommend.run, runs, split, str(file)),
        num_users=config.recommend.users,
        judged=split,
        rows=users_of(config.evaluate),
        exclude_seen=seen == "--exclude-seen",
        memory=build.memory,
    )


def _answering(named: str | None, runs: Runs, judged: SplitName, where: str) -> str | None:
    """The run that recommends, see `Sampled.run`; None for the best one.

    Raises:
        ValueError: the file names a run that the pipeline does not make.
    """
    if named is not None:
        if named not in runs:
            raise ValueError(
                f"{where}: recommend.run: there is no {named!r} under train, attach or align; "
                f"there are {', '.join(runs)}."
            )
        return named
    if judged == "validation":
        return None
    searched = [run for run in runs.values() if run.is_searched]
    attached = [run for run in searched if run.ranker is not None][::-1]
    return next(iter([*attached, *searched, *runs.values()])).name


def dataset_steps(
    build: StepBuilder, importing: Settings, split: Settings, *, name: str | None = None
) -> list[Step]:
    """The steps that import the dataset and, where that is asked for, split it.

    Args:
        build: builds them.
        importing: options of `sidestep import`; `from` says which kind.
        split: options of `sidestep data split`; empty for the split that the import makes.
        name: of the dataset; None leaves it to the import.
    """
    path = build.out / DATASET
    sources = dict(importing)
    words = ("import", str(sources.pop("from", "table")))
    wired = ["--out", path, *(() if name is None else ("--name", name))]
    imported = build.step("import", sources, wired, words=words, product=path)
    if split:
        words, product = ("data", "split"), path / SPLIT_FOLDER
        later = build.step(_SPLIT, split, [path], words=words, product=product, after=[imported])
        return [imported, replace(later, is_only_maker=True)]
    if build.memory.has_begun(_SPLIT):
        # The section is gone, but its split is still there: only a new import removes it.
        after = {**imported.made_from["after"], _SPLIT: "no longer"}
        imported = replace(imported, made_from={**imported.made_from, "after": after})
    return [imported]


def _vectors(build: StepBuilder, config: PipelineConfig, dataset: Sequence[Step]) -> Step:
    """The step that gives the dataset's items vectors."""
    product = build.out / VECTORS
    wired = [build.out / DATASET, "--out", product]
    return build.step("embed", config.embed, wired, product=product, after=dataset)


def _catalog(build: StepBuilder, config: PipelineConfig, after: Sequence[Step]) -> Step:
    """The step that gives the dataset's items semantic IDs."""
    path = build.out / CATALOG
    wired: list[object] = [build.out / DATASET, "--out", path]
    if "published" not in config.tokenize:
        wired += ["--vectors", build.out / VECTORS]
    return build.step("tokenize", config.tokenize, wired, product=path, after=after)


def _reads_vectors(out: Path, run: PlannedRun) -> bool:
    """Whether a run reads the vectors that the pipeline makes: `embeddings: vectors.npy`."""
    if run.section == "attach":
        return False
    named: str | None = getattr(run.config, "embeddings", None)
    return named is not None and os.path.abspath(out / named) == os.path.abspath(out / VECTORS)


def _attached(
    build: StepBuilder, run: PlannedRun, attached: Attached, needs: Sequence[Step]
) -> Step:
    """The step that puts a ranker beside a run."""
    out = build.out
    wired = [out / attached.run, "--ranker", out / attached.ranker, "--out", out / run.name]
    return build.step(
        "attach",
        attached.model_extra or {},
        wired,
        of=run.name,
        product=out / run.name / "bundle",
        after=needs,
    )


def _evaluation(
    build: StepBuilder, run: PlannedRun, config: PipelineConfig, runs: Runs, made: Step
) -> Step:
    """The step that measures a run, with those settings of the section that the run can use.

    Args:
        build: builds the step.
        run: one of `runs`.
        config: of the pipeline.
        runs: all runs of the pipeline.
        made: the step that makes the run.
    """
    settings = dict(config.evaluate) if run.is_searched else _without_search(config.evaluate)
    method = method_of(run, runs, settings.get("search"))
    if method is not None:
        if "method" in settings:
            raise ValueError(
                f"{build.where}: evaluate: method: {settings['method']!r} would be the name of "
                "several runs; leave it out, and each has its own after its name."
            )
        settings["method"] = method
    folder = build.out / run.name
    # A setting, so that a pipeline of an older version, whose default was the test, is judged anew.
    settings.setdefault("split", _JUDGED)
    product = folder / "evaluations"
    return build.step("evaluate", settings, [folder], of=run.name, product=product, after=[made])


def _without_search(settings: Settings) -> dict[str, Any]:
    """Settings for a run that searches nothing."""
    return {
        key: value for key, value in settings.items() if key.replace("_", "-") not in _OF_SEARCHES
    }
