"""Training of a run of any kind: the checks, the training, and the bundle.

`kinds` has the kinds of run.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import fingerprint, split_of
from sidestep.data.splits import Split
from sidestep.launch import Launch
from sidestep.runs.config import common_settings, read_settings
from sidestep.runs.estimates import TrainingTime, time_of_training
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.plan import Given, Origin, Plan
from sidestep.runs.provenance import counted_catalog
from sidestep.runs.run_config import BackboneRun, LearnedRun, RunConfig, TunableRun
from sidestep.training.checkpoint import checkpoints, refuse_checkpoints, refuse_other_run
from sidestep.training.config import TrainingConfig
from sidestep.training.fit import Learning, TrainingRun, fit
from sidestep.training.processes import joined
from sidestep.training.progress import Progress, TrainingResult
from sidestep.training.sharing import refuse_undivided
from sidestep.training.step_plan import steps_per_epoch
from sidestep.training.trackers import refuse_missing_trackers


def train_run(
    config: RunConfig,
    dataset: Dataset,
    catalog: Catalog | None,
    *,
    folder: RunFolder,
    info: RunInfo,
    resume: bool = True,
    report: Callable[[Progress], None] | None = None,
) -> TrainingResult | None:
    """Trains what a configuration asks for and leaves the bundle in the run's folder.

    An interrupted run leaves checkpoints and no bundle; another call continues it. A run of kind
    align also leaves a page about itself. Every process of a launch by `torchrun` calls this
    function; the first one writes.

    Args:
        config: of the run.
        dataset: its rows.
        catalog: the semantic IDs; None where none were given.
        folder: of the run.
        info: the inputs of the run, which the folder keeps.
        resume: whether to continue from checkpoints; otherwise they are refused.
        report: is called after every step and validation; an exception of it ends the training.

    Returns:
        The end of the training; None where nothing is trained.

    Raises:
        FileNotFoundError: a file or folder that the configuration names is not there.
        ValueError: configuration, dataset and catalog do not fit, the network is larger than the
            memory, or the folder holds another run or is being trained in.
    """
    plan = checked_plan(config, dataset, catalog, folder, seed=info.seed, resume=resume)
    return train_planned(
        plan, config, dataset, folder=folder, info=info, resume=resume, report=report
    )


def checked_plan(
    config: RunConfig,
    dataset: Dataset,
    catalog: Catalog | None,
    folder: RunFolder,
    *,
    seed: int,
    resume: bool,
) -> Plan:
    """The plan of a run; refuses what could not end well, and writes nothing.

    Args:
        config, dataset, catalog, folder, resume: see `train_run`.
        seed: of weights, shuffling and dropout.

    Raises:
        FileNotFoundError, ValueError: see `train_run`.
    """
    plan = plan_of(config, dataset, catalog, out=folder.path, seed=seed)
    folder.refuse_other_contents()
    num_processes = Launch.of_environment().count
    if plan.learning is None:
        if num_processes > 1:
            raise ValueError(
                f"a run of kind {config.kind} trains no network, which is the work of one process; "
                "start it without torchrun."
            )
        return plan
    assert isinstance(config, LearnedRun)
    refuse_undivided(plan.learning.objective, num_processes)
    refuse_missing_trackers(config.training.trackers)
    _refuse_too_much_context(plan.material.split, config.min_context)
    if not resume:
        refuse_checkpoints(folder.path)
    return plan


def train_planned(
    plan: Plan,
    config: RunConfig,
    dataset: Dataset,
    *,
    folder: RunFolder,
    info: RunInfo,
    resume: bool = True,
    report: Callable[[Progress], None] | None = None,
) -> TrainingResult | None:
    """Trains by a plan, see `train_run`.

    Args:
        plan: of the configuration, from `checked_plan`; its network is trained in place.
        config, dataset, folder, info, resume, report: see `train_run`.

    Raises:
        ValueError: somebody else trains in the folder, or it holds checkpoints of another run.
        FloatingPointError: the loss or a gradient stops being finite.
    """
    device = config.training.device if isinstance(config, LearnedRun) else "cpu"
    with joined(device) as processes:
        processes.wait()  # until all have looked at the folder, which the first one changes
        with folder.held():
            return _trained(plan, config, dataset, folder, info, resume=resume, report=report)


def plan_run(
    config: RunConfig,
    dataset: Dataset,
    catalog: Catalog | None,
    *,
    folder: RunFolder,
    seed: int,
    resume: bool = True,
) -> tuple[dict[str, int], TrainingTime | None]:
    """Makes the checks of `train_run` that need no training, and estimates the time.

    Returns:
        Sizes by name, and an estimate of the time from some steps on some users; None where nothing
        is trained or measured.

    Raises:
        ValueError: see `train_run`.
    """
    plan = checked_plan(config, dataset, catalog, folder, seed=seed, resume=resume)
    sizes = {
        "users": len(plan.material.split.train),
        "items": plan.material.catalog.num_items,
        "validation_rows": len(plan.material.split.validation),
    }
    if plan.learning is None:
        return sizes, None
    assert isinstance(config, LearnedRun)
    for checkpoint in checkpoints(folder.path)[-1:]:
        kept = common_settings(read_settings(folder.config), folder.info().seed)
        refuse_other_run(checkpoint, kept, common_settings(config.model_dump(mode="json"), seed))
    work = _work(plan.learning, config.training)
    sizes |= asdict(work)
    return sizes, time_of_training(plan.learning, config, num_steps=work.steps, seed=seed)


def plan_of(
    config: RunConfig, dataset: Dataset, catalog: Catalog | None, *, out: Path, seed: int
) -> Plan:
    """The plan of a run; writes nothing.

    Args:
        config: of the run.
        dataset: its rows.
        catalog: None where none was given.
        out: the folder of the run.
        seed: of weights, shuffling and dropout.

    Raises:
        FileNotFoundError: a file or folder that the configuration names is not there.
        ValueError: they do not fit each other, or the network does not fit the memory.
    """
    split = split_of(dataset, min_context=config.min_context)
    if catalog is not None and not isinstance(config, BackboneRun):
        catalog = counted_catalog(catalog, dataset, split)
    given = Given(dataset=dataset, split=split, catalog=catalog, out=out, seed=seed)
    return config.prepare(given)


def _trained(
    plan: Plan,
    config: RunConfig,
    dataset: Dataset,
    folder: RunFolder,
    info: RunInfo,
    *,
    resume: bool,
    report: Callable[[Progress], None] | None,
) -> TrainingResult | None:
    """The work of `train_planned`, within the lock of the folder."""
    data = fingerprint(dataset)
    # Not before everything was checked: a folder that says what it holds should hold it.
    if plan.learning is None:
        folder.write(config, info)
        trials = config.trials if isinstance(config, TunableRun) else None
        training = {} if trials is None else {"trials": trials}
        plan.save(folder.bundle, Origin(seed=info.seed, training=training, data=data))
        return None
    assert isinstance(config, LearnedRun)
    is_first = Launch.of_environment().is_first
    if is_first and not checkpoints(folder.path):
        folder.write(config, info)
    result = fit(
        plan.learning,
        TrainingRun(
            training=config.training,
            folder=folder.path,
            seed=info.seed,
            validation=config.validation,
            resume=resume,
            report=report,
        ),
    )
    if result.stopped == "interrupted" or not is_first:
        return result
    # Again, because a resumed run may have other settings where they change no step.
    folder.write(config, info)
    training = _summary(result, plan.material.split, config.trials)
    plan.save(folder.bundle, Origin(seed=info.seed, training=training, data=data))
    if plan.write_page is not None:
        plan.write_page(folder.path)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The size of a training.

    parameters: weights of the network.
    windows, targets: of the training part, in one epoch.
    steps: of the optimizer, in all epochs.
    """

    parameters: int
    windows: int
    targets: int
    epochs: int
    steps: int


def _refuse_too_much_context(split: Split, min_context: int) -> None:
    """Raises a `ValueError` where so many items precede no position of the training part."""
    longest = split.train.histories.lengths.max(initial=0)
    if 0 < longest <= min_context:
        raise ValueError(
            f"min_context is {min_context}, but the longest history to train on has {longest} "
            "items, so that there is nothing to learn from; lower min_context to at most "
            f"{longest - 1}."
        )


def _work(learning: Learning, config: TrainingConfig) -> _Work:
    """The size of a training."""
    windows = learning.windows
    return _Work(
        parameters=sum(weights.numel() for weights in learning.network.parameters()),
        windows=len(windows),
        targets=windows.num_targets,
        epochs=config.epochs,
        steps=config.epochs * steps_per_epoch(windows, config),
    )


def _summary(result: TrainingResult, split: Split, trials: int | None) -> dict[str, Any]:
    """The summary of a training in its bundle; `trials` only where they were counted."""
    return {
        "first_targets": split.train.num_first_targets,
        "validation": result.best_score,
        "best_epoch": result.best_epoch,
        "steps": result.step,
        "seconds": result.seconds,
        "stopped": result.stopped,
        **({} if trials is None else {"trials": trials}),
    }
