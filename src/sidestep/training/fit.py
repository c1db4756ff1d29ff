"""Fitting: a training that was planned, from its first step to the best weights.

There is one loop for all kinds of training; `Learning` says what it lowers, and by what a network
is chosen.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sidestep.data.splits import Rows
from sidestep.data.windows import Windows
from sidestep.evaluation.evaluator import evaluate, fixed_users
from sidestep.recommender import Recommender
from sidestep.training.config import VALIDATION_METRIC, TrainingConfig, ValidationConfig
from sidestep.training.loop import train
from sidestep.training.objective import Objective
from sidestep.training.progress import Progress, TrainingResult, Validated
from sidestep.training.random_state import seed_everything, unchanged_random_state

_CUTOFFS = (10, 50)
_TOLD = ("HR@1", "HR@10", "HR@50", "NDCG@10", "coverage", "diversity")
"""Metrics of every validation in the log: a score that rises may hide a list that narrows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """All that a training needs beside its steps: built once, and trained in place.

    network: its weights are the result.
    objective: is lowered; it holds the network.
    windows: of histories, to learn from.
    validation: rows that choose the weights; without any, the last weights are kept.
    recommender: the network as a recommender on a device: validation ranks the catalog by it.
    about: all that makes this training this one, as JSON; a resumed one must have the same.
    """

    network: nn.Module
    objective: Objective
    windows: Windows
    validation: Rows
    recommender: Callable[[torch.device], Recommender]
    about: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """The run of a training: its steps, its folder and how weights are chosen.

    training: the steps.
    folder: of the run, see `loop.train`.
    seed: of shuffling and dropout.
    validation: how the weights are chosen.
    resume: continue an interrupted run in `folder`.
    report: called after every step, see `loop.train`.
    """

    training: TrainingConfig
    folder: Path
    seed: int
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    resume: bool = False
    report: Callable[[Progress], None] | None = None


def fit(learning: Learning, run: TrainingRun) -> TrainingResult:
    """Trains a network, which ends with its best weights, in `eval` mode on the training device.

    Raises:
        ValueError: see `loop.train`.
    """
    rows = validation_rows(learning.validation, run.validation)

    def validate() -> Validated:
        device = next(learning.objective.parameters()).device
        evaluation = evaluate(
            learning.recommender(device),
            rows,
            k=max(k for k in _CUTOFFS if k <= max(run.validation.num_beams, min(_CUTOFFS))),
            batch_size=run.validation.batch_size,
            device=device,
        )
        told = {name: evaluation.metrics[name] for name in _TOLD if name in evaluation.metrics}
        return Validated(score=evaluation.metrics[VALIDATION_METRIC], metrics=told)

    return train(
        learning.objective,
        learning.windows,
        run.training,
        folder=run.folder,
        seed=run.seed,
        validate=validate if len(rows) else None,
        resume=run.resume,
        report=run.report,
        about={**learning.about, "validation": run.validation.model_dump(mode="json")},
    )


@contextmanager
def initialised(seed: int) -> Iterator[None]:
    """Weights that are made within follow from the seed; no other random stream is touched."""
    with unchanged_random_state():
        seed_everything(seed)
        yield


def weights_sha256(weights_by_name: Mapping[str, Tensor]) -> str:
    """Tells tensors that are read, but not trained, from others of their shape."""
    digest = hashlib.sha256()
    for name, weights in sorted(weights_by_name.items()):
        digest.update(name.encode())
        digest.update(weights.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def validation_rows(rows: Rows, validation: ValidationConfig) -> Rows:
    """The rows that a validation ranks: all, or a fixed random choice of some."""
    if validation.num_users is None or not len(rows):
        return rows
    return rows.select(fixed_users(len(rows), validation.num_users))
