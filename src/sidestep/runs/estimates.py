"""Estimates of time for dry runs, from a short measurement on this machine.

A little of the very work is done and its time extrapolated: some steps of a training on some users,
some rows of an evaluation, a tokenizer on some items. No estimate is a promise: other work on the
machine, a longer history or an early stop change it.
"""

import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel

from sidestep.launch import Launch
from sidestep.runs.run_config import LearnedRun
from sidestep.tokenizer.methods import METHODS, make_tokenizer
from sidestep.training.fit import Learning, TrainingRun, fit
from sidestep.training.progress import Progress

LONGEST_S = 5.0
"""Seconds after which a measurement ends, as soon as it can tell anything."""

_NUM_BATCHES = 4
"""Batches that a training is measured on."""

_NUM_ITEMS = 1_000
"""Items that a tokenizer is measured on; as many more as its codebooks need."""


class _EnoughError(Exception):
    """Ends a measurement that has told what there is to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTime:
    """The estimated time of a training.

    seconds: of all its steps and validations, if it does not stop early.
    seconds_per_row: of a validation; None where none was measured.
    """

    seconds: float
    seconds_per_row: float | None


def time_of_training(
    learning: Learning, config: LearnedRun, *, num_steps: int, seed: int
) -> TrainingTime | None:
    """Trains on a few windows for a few steps, in a folder that is deleted, and extrapolates.

    Args:
        learning: planned; its network is changed.
        config: of the run.
        num_steps: of the whole training.
        seed: of the run.

    Returns:
        None where nothing could be measured, as in a launch of several processes.
    """
    if Launch.of_environment().is_shared:
        return None
    training, validation = config.training, learning.validation
    some = replace(
        learning,
        windows=learning.windows.select(
            _spread(
                len(learning.windows),
                _NUM_BATCHES * training.batch_size * training.accumulation_steps,
            )
        ),
        validation=validation.select(_spread(len(validation), training.batch_size)),
    )
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(
            training=training.model_copy(
                update={"epochs": 1, "max_seconds": None, "trackers": (), "validate_every": 1}
            ),
            folder=Path(folder),
            seed=seed,
            validation=config.validation,
            report=clock.tick,
        )
        with suppress(_EnoughError):
            fit(some, run)
    per_step = clock.seconds_per_step
    if per_step is None:
        return None
    most = config.validation.num_users or len(validation)
    measured_rows, num_rows = min(len(some.validation), most), min(len(validation), most)
    per_row = None
    if clock.validation is not None and measured_rows:
        per_row = clock.validation / measured_rows
    num_validations = -(-training.epochs // training.validate_every)
    seconds = num_steps * per_step + num_validations * num_rows * (per_row or 0.0)
    if training.max_seconds is not None:
        seconds = min(seconds, training.max_seconds)
    return TrainingTime(seconds=seconds, seconds_per_row=per_row)


def seconds_of_tokenizing(
    method: str, config: BaseModel, vectors: Float[np.ndarray, "items dim"]
) -> float | None:
    """The estimated time of a tokenizer, in seconds, from a fit on some of the items.

    None for a tokenizer of a user's own, and where some items do not fill the codebooks.
    """
    if method not in METHODS:
        return None
    sizes = getattr(config, "codebook_sizes", ())
    num_some = min(len(vectors), max(_NUM_ITEMS, 2 * max(sizes, default=0)))
    chosen = np.random.default_rng(0).choice(len(vectors), size=num_some, replace=False)
    some = vectors[np.sort(chosen)]
    began = time.perf_counter()
    share = 1.0

    def report(_what: str, done: int, total: int) -> None:
        nonlocal share
        if done and time.perf_counter() - began > LONGEST_S:
            share = done / total
            raise _EnoughError

    try:
        make_tokenizer(method, config).fit(some, seed=0, report=report)
    except _EnoughError:
        pass
    except ValueError:  # these few items do not fill the codebooks, while all of them may
        return None
    return (time.perf_counter() - began) / share * len(vectors) / num_some


def _spread(num: int, num_wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, num - 1, min(num, num_wanted)).astype(np.int64))


@dataclass(slots=True)
class _Clock:
    """A clock of a training.

    ticks: the times at which steps ended.
    began: the time at which the clock was made.
    step: the last step that ended.
    validation: seconds of the validation after the last step; None where none was made.
    """

    ticks: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    step: int = 0
    validation: float | None = None

    def tick(self, progress: Progress) -> None:
        now = time.perf_counter()
        if progress.step == self.step:  # told again after the validation
            self.validation = now - self.ticks[-1] if progress.score is not None else None
            return
        self.step = progress.step
        self.ticks.append(now)
        if len(self.ticks) > 1 and now - self.began > LONGEST_S:
            raise _EnoughError

    @property
    def seconds_per_step(self) -> float | None:
        """The median time of a step, in seconds; None before the first step.

        The first step makes ready what the others find, and counts only if it is alone.
        """
        if not self.ticks:
            return None
        if len(self.ticks) == 1:
            return self.ticks[0] - self.began
        return median(np.diff(self.ticks).tolist())
