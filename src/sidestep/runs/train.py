"""How a run is trained, whatever its kind: checks, the training, and the bundle it leaves.

What the kinds are stands in `run_kinds`.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import fingerprint
from sidestep.data.splits import Split
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.config import AlignRun, AnyRun, CountedRun, read_settings, with_paths
from sidestep.runs.estimates import TrainingTime, time_of_training
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.runs.run_kinds import Counting, Origin, RunTraining, prepared
from sidestep.training.checkpoint import checkpoints, refuse_other_run
from sidestep.training.config import RESUMABLE, TrainingConfig
from sidestep.training.loop import refuse_checkpoints, steps_per_epoch
from sidestep.training.placement import is_main_process
from sidestep.training.progress import Progress, TrainingResult
from sidestep.training.stages import Course
from sidestep.training.trackers import refuse_missing_trackers

with imported_when_used():
    from sidestep.runs import alignment_page


def train_run(
    config: AnyRun,
    dataset: Dataset,
    catalog: Catalog | None,
    *,
    folder: RunFolder,
    info: RunInfo,
    resume: bool = True,
    report: Callable[[Progress], None] | None = None,
) -> TrainingResult | None:
    """Trains what a configuration asks for and leaves the bundle in the run's folder.

    An interrupted run leaves no bundle, but checkpoints: calling this again continues it. A run of
    kind align leaves a page of itself, too.

    Returns:
        How the training ended; None where nothing is trained.

    Raises:
        ValueError: configuration, dataset and catalog do not fit, the network is larger than the
            memory, or the folder holds another run or is being trained in.
    """
    run, _ = _checked(config, dataset, catalog, folder, seed=info.seed, resume=resume)
    with folder.held():
        return _trained(run, config, dataset, folder, info, resume=resume, report=report)


def _trained(
    run: RunTraining[Any] | Counting,
    config: AnyRun,
    dataset: Dataset,
    folder: RunFolder,
    info: RunInfo,
    *,
    resume: bool,
    report: Callable[[Progress], None] | None,
) -> TrainingResult | None:
    """See `train_run`, once all is checked and nobody else writes here."""
    # Not before everything was checked: a folder that says what it holds should hold it.
    if isinstance(run, Counting):
        folder.write(config, info)
        run.save(folder.bundle, Origin(seed=info.seed, training={}, data=fingerprint(dataset)))
        return None
    assert not isinstance(config, CountedRun)
    if not checkpoints(folder.path):
        folder.write(config, info)
    trained = run.train(
        Course(
            training=config.training,
            max_history=run.material.max_history,
            folder=folder.path,
            seed=info.seed,
            validation=config.validation,
            resume=resume,
            report=report,
        )
    )
    result = trained.result
    if result.stopped == "interrupted" or not is_main_process():
        return result
    # Again, because a resumed run may have other settings where they change no step.
    folder.write(config, info)
    origin = Origin(
        seed=info.seed, training=_summary(result, run.material.split), data=fingerprint(dataset)
    )
    run.save(folder.bundle, trained.network, origin)
    if isinstance(config, AlignRun):
        _, prompts = run.untrained(info.seed)
        alignment_page.write_alignment_page(folder, config, info, trained.network, prompts)
    return result


def plan_run(
    config: AnyRun,
    dataset: Dataset,
    catalog: Catalog | None,
    *,
    folder: RunFolder,
    seed: int,
    resume: bool = True,
) -> tuple[dict[str, int], TrainingTime | None]:
    """Checks what `train_run` would, as far as that takes no training.

    Returns:
        Sizes by name, and an estimate of the time, for which some steps are made on some users;
        None where nothing is trained or measured.

    Raises:
        ValueError: see there.
    """
    run, work = _checked(config, dataset, catalog, folder, seed=seed, resume=resume)
    sizes = {
        "users": len(run.material.split.train),
        "items": run.material.catalog.num_items,
        "validation_rows": len(run.material.split.validation),
    }
    if work is None:
        return sizes, None
    for checkpoint in checkpoints(folder.path)[-1:]:
        kept = _common(read_settings(folder.config), folder.info().seed)
        refuse_other_run(checkpoint, kept, _common(config.model_dump(mode="json"), seed))
    sizes |= asdict(work)
    assert isinstance(run, RunTraining)
    assert not isinstance(config, CountedRun)
    return sizes, time_of_training(run, config, num_steps=work.steps, seed=seed)


def _common(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """What of a configuration a resumed run must have in common with the one before."""
    training = {
        name: value for name, value in config.get("training", {}).items() if name not in RESUMABLE
    }
    # A path is the same from wherever it is seen.
    settings = with_paths(config, os.path.realpath)
    return {"config": {**settings, "training": training}, "seed": seed}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """How much there is to train.

    parameters: weights of the network.
    windows, targets: of the training part, in one epoch.
    steps: of the optimizer, in all epochs.
    """

    parameters: int
    windows: int
    targets: int
    epochs: int
    steps: int


def _checked(
    config: AnyRun,
    dataset: Dataset,
    catalog: Catalog | None,
    folder: RunFolder,
    *,
    seed: int,
    resume: bool,
) -> tuple[RunTraining[Any] | Counting, _Work | None]:
    """Refuses what could not end well, and writes nothing; without work nothing is trained."""
    run = prepared(config, dataset, catalog, out=folder.path)
    if isinstance(config, CountedRun):
        folder.refuse_other_contents()
        return run, None
    assert isinstance(run, RunTraining)
    refuse_missing_trackers(config.training.trackers)
    folder.refuse_other_contents()
    _refuse_too_much_context(run.material.split, config.min_context)
    work = _work(run, config.training, seed)
    if not resume:
        refuse_checkpoints(folder.path)
    return run, work


def _refuse_too_much_context(split: Split, min_context: int) -> None:
    """Raises a `ValueError` where so many items precede no position of the training part."""
    longest = split.train.histories.lengths.max(initial=0)
    if 0 < longest <= min_context:
        raise ValueError(
            f"min_context is {min_context}, but the longest history to train on has {longest} "
            "items, so that there is nothing to learn from; lower min_context to at most "
            f"{longest - 1}."
        )


def _work(run: RunTraining[Any], config: TrainingConfig, seed: int) -> _Work:
    """The size of a training, by building its network, which finds what does not fit."""
    network, windows = run.untrained(seed)
    return _Work(
        parameters=sum(weights.numel() for weights in network.parameters()),
        windows=len(windows),
        targets=windows.num_targets,
        epochs=config.epochs,
        steps=config.epochs * steps_per_epoch(windows, config),
    )


def _summary(result: TrainingResult, split: Split) -> dict[str, Any]:
    """What the bundle says of its training."""
    return {
        "first_targets": split.train.num_first_targets,
        "validation": result.best_score,
        "best_epoch": result.best_epoch,
        "steps": result.step,
        "seconds": result.seconds,
        "stopped": result.stopped,
    }
