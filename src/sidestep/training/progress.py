"""Progress, validations and the end of a run of the training loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Stopped = Literal["finished", "patience", "limit", "budget", "interrupted"]
"""The reason for the end of a run: all epochs done, no gain for `patience` validations, a limit of
the objective (`Objective.limit_reached`), time used up, or asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The place of a run in its training.

    epoch: the one at work, from 1.
    step: optimizer steps done, of `num_steps`.
    loss, targets_per_s: of the last line in the log; None before the first.
    parts: of the same line, those that the objective wants watched.
    score: the last validation; best_score, best_epoch: the best one. None before the first.
    metrics: what else that validation said; empty before the first one since the run was resumed.
    validated_epoch: after which epoch that validation was; None before the first one since then.
    seconds: spent so far, earlier parts of a resumed run included.
    """

    epoch: int
    num_epochs: int
    step: int
    num_steps: int
    learning_rate: float
    loss: float | None
    targets_per_s: float | None
    parts: Mapping[str, float]
    score: float | None
    best_score: float | None
    best_epoch: int | None
    metrics: Mapping[str, float]
    seconds: float
    validated_epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """The result of a validation.

    score: by which the best weights are chosen; larger is better.
    metrics: what else the log keeps of it, by name.
    """

    score: float
    metrics: Mapping[str, float] = field(default_factory=dict)


Validate = Callable[[], Validated]
"""Judges the objective as it is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """The end of a run.

    best_score, best_epoch: of the best validation and after which epoch; None without one.
    step: optimizer steps done.
    seconds: spent, earlier parts of a resumed run included, validation included.
    weights: safetensors of the objective: the best ones, or the last without validation.
    """

    best_score: float | None
    best_epoch: int | None
    step: int
    seconds: float
    weights: Path
    stopped: Stopped
