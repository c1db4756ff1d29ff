"""The estimated time of the steps of a pipeline whose inputs are not made at the time."""

import tempfile
from pathlib import Path

import numpy as np

from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.data.splits import SplitName
from sidestep.pipelines.rehearsal import Rehearsal
from sidestep.pipelines.steps import Step
from sidestep.runs.catalogs import make_catalog
from sidestep.runs.estimates import TrainingTime, seconds_of_tokenizing, time_of_training
from sidestep.runs.judged_rows import rows_of
from sidestep.runs.run_config import BackboneRun, LearnedRun, RunConfig
from sidestep.runs.tokenizing import tokenizer_config
from sidestep.runs.train import plan_of
from sidestep.tokenizer.methods import DEFAULT_METHOD
from sidestep.tokenizer.vectors import suggested_codebook_sizes
from sidestep.training.step_plan import steps_per_epoch

_DIM = 128
"""Width of the random vectors."""


def estimate_unmade(step: Step, found: Rehearsal, dataset: Dataset, judged: SplitName) -> bool:
    """Adds the time of a step that cannot be rehearsed yet, as its inputs are not made.

    Vectors and semantic IDs are drawn at random: their values change no time.

    Args:
        step: of the pipeline, in its order.
        found: so far.
        dataset: as it is, or as its import would write it.
        judged: the rows that runs are evaluated on.

    Returns:
        Whether its time is known.
    """
    seconds: float | None = None
    if step.words[-1] == "tokenize" and "--space" in step.arguments:
        found.has_own_space = True
    if step.training is not None and step.training.run.needs_catalog and found.has_own_space:
        return False
    if step.training is not None and isinstance(step.training.run, BackboneRun):
        return False  # nothing tells the time before the network that is improved is there
    if step.training is not None:
        time = _time_of(step.training.run, dataset)
        seconds, found.seconds_per_row = time.seconds, time.seconds_per_row
    elif step.words[-1] == "tokenize" and not {"--method", "--published"} & {*step.arguments}:
        vectors = _vectors(dataset)
        config = tokenizer_config(DEFAULT_METHOD, {}, vectors)
        seconds = seconds_of_tokenizing(DEFAULT_METHOD, config, vectors)
    elif step.words[-1] == "evaluate" and found.seconds_per_row is not None:
        seconds = found.seconds_per_row * len(rows_of(split_of(dataset), judged))
    found.seconds += seconds or 0.0
    return seconds is not None


def is_instant(step: Step) -> bool:
    """Whether a step takes no time to speak of: popularity only counts."""
    return step.training is not None and not isinstance(step.training.run, LearnedRun)


def _time_of(config: RunConfig, dataset: Dataset) -> TrainingTime:
    """The time of a training; popularity counts, which takes no time to speak of."""
    nothing = TrainingTime(seconds=0.0, seconds_per_row=0.0)
    if not isinstance(config, LearnedRun):
        return nothing
    catalog = _catalog(dataset) if config.needs_catalog else None
    with tempfile.TemporaryDirectory() as folder:
        learning = plan_of(config, dataset, catalog, out=Path(folder), seed=0).learning
    if learning is None:
        return nothing
    num_steps = config.training.epochs * steps_per_epoch(learning.windows, config.training)
    return time_of_training(learning, config, num_steps=num_steps, seed=0) or nothing


def _vectors(dataset: Dataset) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(len(dataset.items), _DIM))
    return drawn.astype(np.float32)


def _catalog(dataset: Dataset) -> Catalog:
    sizes = suggested_codebook_sizes(_vectors(dataset))
    codes = np.random.default_rng(0).integers(0, sizes[0], size=(len(dataset.items), len(sizes)))
    return make_catalog(dataset, split_of(dataset), codes.astype(np.int32), sizes)
