"""The state of a run beside its tensors, and the identity that a resumed run must share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sidestep.data.windows import Windows
from sidestep.training.config import RESUMABLE, TrainingConfig
from sidestep.training.tally import Sums


@dataclass(slots=True, kw_only=True)
class RunState:
    """The state of a run beside its tensors; JSON in a checkpoint.

    epoch: epochs that are over, validation included.
    step: optimizer steps done.
    score: of the last validation; best_score, best_epoch: of the best one. None before the first.
    validations_without_gain: since the best one.
    seconds: spent so far.
    log_bytes: size of the log.
    is_limit_reached: whether the objective asked to end here.
    line, whole_epoch: sums since the last line in the log, and of the epoch up to that line.
    """

    epoch: int = 0
    step: int = 0
    score: float | None = None
    best_score: float | None = None
    best_epoch: int | None = None
    validations_without_gain: int = 0
    seconds: float = 0.0
    log_bytes: int = 0
    is_limit_reached: bool = False
    line: Sums = field(default_factory=Sums)
    whole_epoch: Sums = field(default_factory=Sums)

    @staticmethod
    def of(saved: Mapping[str, Any]) -> "RunState":
        """The state that a checkpoint keeps.

        Raises:
            KeyError: an entry is missing.
            TypeError: there is an entry that no state has.
        """
        sums = {name: Sums(**saved[name]) for name in ("line", "whole_epoch")}
        return RunState(**{**saved, **sums})

    def remember(self, score: float) -> bool:
        """Takes the score of a validation; returns whether it is the best so far."""
        self.score = score
        is_best = self.best_score is None or score > self.best_score
        if is_best:
            self.best_score, self.best_epoch = score, self.epoch
            self.validations_without_gain = 0
        else:
            self.validations_without_gain += 1
        return is_best


def run_identity(
    config: TrainingConfig,
    windows: Windows,
    weights: Mapping[str, Tensor],
    *,
    seed: int,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Settings that a resumed run must share with the run before, as JSON.

    Args:
        config: how to train.
        windows: the training part.
        weights: of the objective; only names and shapes count.
        seed: of shuffling and of dropout.
        about: further settings that decide the run, as JSON.
    """
    return {
        "config": config.model_dump(mode="json", exclude=set(RESUMABLE)),
        "seed": seed,
        "windows": windows.fingerprint(),
        "weights": {name: list(one.shape) for name, one in weights.items()},
        # Older versions gave each process batches of its own, so their number decided the batches.
        "processes": 1,
        "about": json.loads(json.dumps(about)),
    }
