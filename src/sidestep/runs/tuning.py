"""Tuning: trials of the settings of a run, each a training or a fit, judged by validation alone.

`search_space` says what is tried, `study` which values come next, `train` how a trial is trained.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import polars as pl

from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import fingerprint, split_of
from sidestep.evaluation.tuning import Trial, Tuning, in_words
from sidestep.files import write_json
from sidestep.launch import Launch
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.runs.config import common_settings
from sidestep.runs.environment import command_line, git_commit, machine
from sidestep.runs.estimates import TrainingTime
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.judged_rows import no_rows
from sidestep.runs.plan import Plan
from sidestep.runs.run_config import NUM_TRIALS, LearnedRun, RunConfig, TunableRun
from sidestep.runs.search_space import SearchSpace, start_of, tunable, with_drawn
from sidestep.runs.study_folder import StudyFolder
from sidestep.runs.train import checked_plan, plan_run, train_planned
from sidestep.training.config import VALIDATION_METRIC
from sidestep.training.progress import Progress
from sidestep.version import __version__

with imported_when_used():  # pages are for the end; not everyone has Optuna, which studies need
    from sidestep.bundle import folder as bundles
    from sidestep.evaluation import evaluator
    from sidestep.evaluation.report import page as pages
    from sidestep.evaluation.report import tuning as tuning_report
    from sidestep.runs import study as studies

_UNPRUNED_SHARE = 0.25
"""Share of the epochs after which a trial may be pruned: at first, validations tell little."""

OnProgress = Callable[[Progress], None]

Watch = Callable[[int, Mapping[str, Any]], AbstractContextManager[OnProgress]]
"""Is given the number and the settings of a trial, and makes a context for its training. The
training tells its progress to the function that the context yields."""


class _PrunedError(Exception):
    """Ends the training of a trial that is not worth its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A study as a user asks for it.

    config: the settings that every trial starts from; the first trial changes none of them, if the
        space holds them.
    space: what is tried.
    num_trials: pruned and failed ones count, too.
    seed: of the draws, and of the training of every trial.
    prune: whether trials are stopped early whose validations are below the median.
    """

    config: TunableRun
    space: SearchSpace
    num_trials: int = NUM_TRIALS
    seed: int = 0
    prune: bool = True

    def __post_init__(self) -> None:
        if self.num_trials < 1:
            raise ValueError(f"--trials {self.num_trials}: ask for at least one trial.")

    @property
    def space_in_words(self) -> dict[str, str]:
        """The values of each setting, in the form in which users write them."""
        return {name: str(values) for name, values in self.space.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A study that is over.

    tuning: its trials.
    config: of the best trial, with the number of trials that chose it: those of this study, and
        those that the configuration of the study was chosen by.
    """

    tuning: Tuning
    config: TunableRun

    @property
    def score(self) -> float:
        """The validation of the best trial: too high by chance, as it is the best of several."""
        score = self.tuning.best.score
        assert score is not None, "the best trial was judged"
        return score

    @property
    def trials(self) -> pl.DataFrame:
        """One row per trial, the best first: number, outcome, score, best_epoch, settings, seconds.

        A setting is a column of its name, as text where its values are no numbers.
        """
        rows = [
            {
                "number": trial.number,
                "outcome": trial.outcome,
                "score": trial.score,
                "best_epoch": trial.best_epoch,
                **{
                    name: value if isinstance(value, int | float) else in_words(value)
                    for name, value in trial.settings.items()
                },
                "seconds": trial.seconds,
            }
            for trial in self.tuning.ranked
        ]
        return pl.DataFrame(rows, infer_schema_length=None, strict=False)


def tune_run(
    asked: Asked,
    dataset: Dataset,
    catalog: Catalog | None,
    *,
    folder: StudyFolder,
    info: RunInfo,
    watch: Watch,
    told: Callable[[Trial], None] | None = None,
) -> Tuned:
    """Makes the trials of a study that are not made yet, and leaves the best configuration.

    Every trial is a run in a folder of its own, trained as `train_run` trains. A study that was
    interrupted or killed goes on with the trial that it was at; more trials may be asked for later.

    Args:
        asked: the study.
        dataset: its rows; no trial sees those of test.
        catalog: the semantic IDs; None where none were given.
        folder: of the study.
        info: the inputs of every trial, which its folder keeps.
        watch: see `Watch`.
        told: is given every trial that is over.

    Raises:
        KeyboardInterrupt: a training was interrupted; the message says where.
        FileNotFoundError: a file or folder that the configuration names is not there.
        ImportError: Optuna is not installed.
        ValueError: the folder holds something else, configuration, dataset and catalog do not fit
            each other, there are no validation rows, or no trial came to an end.
    """
    description = _check(asked, dataset, catalog, folder)
    # What no configuration changes, such as a missing catalog, is no failure of a trial.
    _plan(asked.config, asked, dataset, catalog, folder.planned)
    with folder.held():
        folder.describe(description)
        start, outside = start_of(asked.config, asked.space)
        study = studies.Study(
            folder.journal,
            asked.space,
            seed=asked.seed,
            start=start,
            pruned_after=_pruned_after(asked),
        )
        if outside and not study.closed():
            note(
                f"The first trial draws {', '.join(outside)}, because the value of the "
                "configuration is outside of the search space."
            )
        while len(study.closed()) < asked.num_trials:
            trial = study.next_trial()
            with watch(trial.number, trial.settings) as report:
                _train(trial, asked, dataset, catalog, folder=folder, info=info, report=report)
            if told is not None:
                told(study.closed()[-1])
        return _concluded(asked, study, dataset.name, folder, info)


def plan_tuning(
    asked: Asked, dataset: Dataset, catalog: Catalog | None, *, folder: StudyFolder
) -> tuple[dict[str, int], TrainingTime | None]:
    """Makes the checks of `tune_run` that need no trial, and estimates the time of one.

    Returns:
        Sizes by name, and an estimate of the time of one trial that is not pruned.

    Raises:
        FileNotFoundError, ValueError: see `tune_run`.
    """
    _check(asked, dataset, catalog, folder)
    return plan_run(asked.config, dataset, catalog, folder=folder.planned, seed=asked.seed)


def _check(
    asked: Asked, dataset: Dataset, catalog: Catalog | None, folder: StudyFolder
) -> dict[str, Any]:
    """Refuses a study that could not end well; returns what makes it this one."""
    if importlib.util.find_spec("optuna") is None:
        raise ImportError("tuning needs Optuna, of the extra `tune`: pip install 'sidestep[tune]'.")
    if Launch.of_environment().is_shared:
        raise ValueError("tuning is the work of one process; start it without torchrun.")
    split = split_of(dataset, min_context=asked.config.min_context)
    if len(split.validation) == 0:
        raise ValueError(
            f"{no_rows(split, 'validation')} Without them, nothing tells which trial is best."
        )
    description = {
        **common_settings(asked.config.model_dump(mode="json"), asked.seed),
        "space": asked.space_in_words,
        "prune": asked.prune,
        "data": fingerprint(dataset),
        "catalog": None if catalog is None else catalog.version,
    }
    folder.refuse_other_contents(description)
    return description


def _plan(
    config: RunConfig, asked: Asked, dataset: Dataset, catalog: Catalog | None, run: RunFolder
) -> Plan:
    return checked_plan(config, dataset, catalog, run, seed=asked.seed, resume=True)


def _pruned_after(asked: Asked) -> int | None:
    if not asked.prune or not isinstance(asked.config, LearnedRun):
        return None
    return max(1, round(_UNPRUNED_SHARE * asked.config.training.epochs))


def _train(
    trial: studies.OpenTrial,
    asked: Asked,
    dataset: Dataset,
    catalog: Catalog | None,
    *,
    folder: StudyFolder,
    info: RunInfo,
    report: OnProgress,
) -> None:
    """Trains a trial and closes it.

    Raises:
        KeyboardInterrupt: the training was interrupted; the trial stays open.
    """
    run = folder.trial(trial.number)
    run.refuse_other_contents()
    try:
        config = with_drawn(asked.config, trial.settings, f"trial {trial.number}")
        plan = _plan(config, asked, dataset, catalog, run)
    except ValueError as error:  # each value alone fits, but not these together
        trial.fail(str(error))
        return
    latest: Progress | None = None
    began = time.perf_counter()

    def follow(progress: Progress) -> None:
        nonlocal latest
        report(progress)
        is_new = progress.validated_epoch != (None if latest is None else latest.validated_epoch)
        latest = progress
        epoch, score = progress.validated_epoch, progress.score
        if not is_new or epoch is None or score is None or epoch == progress.num_epochs:
            return
        if trial.is_hopeless(score, epoch=epoch):
            raise _PrunedError

    try:
        result = train_planned(plan, config, dataset, folder=run, info=info, report=follow)
    except FloatingPointError as error:
        trial.fail(str(error))
        return
    except _PrunedError:
        assert latest is not None
        assert latest.best_score is not None
        trial.prune(
            latest.best_score,
            best_epoch=latest.best_epoch,
            steps=latest.step,
            seconds=latest.seconds,
        )
        return
    if result is None:
        score = _validated(run, plan)
        seconds = time.perf_counter() - began
        trial.finish(score, best_epoch=None, steps=0, seconds=seconds)
        return
    if result.stopped == "interrupted":
        raise KeyboardInterrupt(
            f"Interrupted in trial {trial.number} at step {result.step}; a checkpoint is in "
            f"{run.path}."
        )
    if result.best_score is None:
        trial.fail(f"the training ended before its first validation ({result.stopped}).")
        return
    trial.finish(
        result.best_score,
        best_epoch=result.best_epoch,
        steps=result.step,
        seconds=result.seconds,
    )


def _validated(run: RunFolder, plan: Plan) -> float:
    """The validation of a run that trains nothing, by all of its validation rows."""
    loaded = bundles.load(run.bundle, device="cpu")
    found = evaluator.evaluate(loaded.recommender(), plan.material.split.validation)
    return found.metrics[VALIDATION_METRIC]


def _concluded(
    asked: Asked, study: studies.Study, dataset: str, folder: StudyFolder, info: RunInfo
) -> Tuned:
    """Writes the table, the page and the best configuration."""
    tuning = Tuning(
        metric=VALIDATION_METRIC, space=asked.space_in_words, trials=tuple(study.closed())
    )
    write_json(
        folder.results,
        {
            "kind": asked.config.kind,
            "dataset": dataset,
            "seed": asked.seed,
            "prune": asked.prune,
            **tuning.as_json(),
        },
    )
    num_trials = (asked.config.trials or 0) + len(tuning.trials)  # those of earlier studies count
    best = with_drawn(
        asked.config,
        {**tuning.best.settings, "trials": num_trials},
        f"trial {tuning.best.number}",
    )
    folder.write_best(best)
    pages.write_page(
        folder.page,
        tuning_report.tuning_page(
            tuning,
            title=f"Tuning of {asked.config.kind} on {dataset}",
            facts={
                "Dataset": info.dataset,
                "Semantic IDs": info.catalog or "none",
                "Seed of draws and trainings": str(asked.seed),
                "Pruning": "none" if _pruned_after(asked) is None else "by the median of trials",
                "Best configuration": str(folder.best),
                "Made by": command_line(),
                "Version": f"sidestep {__version__}, commit {git_commit() or 'unknown'}",
                "Machine": machine(),
            },
        ),
    )
    return Tuned(tuning=tuning, config=tunable(best))
