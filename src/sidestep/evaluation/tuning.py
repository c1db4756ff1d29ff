"""Tuning: trials of the settings of a run, and the one that validation found best."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

Outcome = Literal["finished", "pruned", "failed"]
"""The end of a trial. A pruned one was stopped because its validations were below the median of
other trials. A failed one could not be trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One training of a study.

    number: from 0, in the order of the trials.
    outcome: see `Outcome`.
    settings: the values that were tried, by the name of the setting.
    score: the best validation; None if the trial failed, or ended before its first validation.
    best_epoch: the epoch of the best validation.
    steps: of the optimizer; 0 for a failed trial.
    seconds: of the training, with its validations; 0 for a failed trial.
    reason: why the trial failed; None if it did not.
    """

    number: int
    outcome: Outcome
    settings: Mapping[str, Any]
    score: float | None
    best_epoch: int | None
    steps: int
    seconds: float
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The trial as plain values."""
        return {
            "number": self.number,
            "outcome": self.outcome,
            "settings": dict(self.settings),
            "score": self.score,
            "best_epoch": self.best_epoch,
            "steps": self.steps,
            "seconds": self.seconds,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The trials of a study.

    metric: by which validation judges; larger is better.
    space: the values that were tried of each setting, in words.
    trials: in the order of their numbers.
    """

    metric: str
    space: Mapping[str, str]
    trials: Sequence[Trial]

    @property
    def best(self) -> Trial:
        """The finished trial with the highest score, the earliest of equals.

        Raises:
            ValueError: no trial was finished and judged; names the reasons of those that failed.
        """
        judged = [trial for trial in self.ranked if trial.outcome == "finished"]
        if not judged or judged[0].score is None:
            reasons = dict.fromkeys(trial.reason for trial in self.trials if trial.reason)
            told = f": {'; '.join(reasons)}" if reasons else "."
            raise ValueError(f"none of the {len(self.trials)} trials came to an end{told}")
        return judged[0]

    @property
    def ranked(self) -> list[Trial]:
        """The trials, finished ones first, each part from the highest score to the lowest."""
        order: dict[Outcome, int] = {"finished": 0, "pruned": 1, "failed": 2}

        def place(trial: Trial) -> tuple[int, bool, float, int]:
            score = trial.score
            return order[trial.outcome], score is None, -(score or 0.0), trial.number

        return sorted(self.trials, key=place)

    @property
    def best_so_far(self) -> list[tuple[int, float]]:
        """The highest score of the finished trials up to each of them, by its number."""
        finished = [
            (trial.number, trial.score)
            for trial in self.trials
            if trial.outcome == "finished" and trial.score is not None
        ]
        return list(accumulate(finished, lambda best, now: (now[0], max(best[1], now[1]))))

    def as_json(self) -> dict[str, Any]:
        """The trials as plain values; `best` is None where no trial was finished."""
        finished = self.best_so_far
        return {
            "metric": self.metric,
            "space": dict(self.space),
            "num_trials": len(self.trials),
            "best": self.best.number if finished else None,
            "trials": [trial.as_json() for trial in self.trials],
        }


def in_words(value: Any) -> str:
    """A value of a setting: numbers short, other values as JSON."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
