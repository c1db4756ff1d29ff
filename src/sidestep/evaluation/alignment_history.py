"""The history of an alignment run: rollouts, policy and validations, read from the log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.evaluation.training_log import log_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentHistory:
    """History of one alignment run, in the order of its steps.

    A number of a step is the mean over the prompts since the number before.

    steps: optimizer steps after which the log has a line.
    parts: terms of the loss and other numbers of the rollouts, by their names in the log. Only
        numbers that every line has are read.
    prompts_per_s: prompts per second that were searched for and learned from, without the time of
        validation.
    epochs: the epochs that were validated.
    metrics: metrics of these validations, by the names of results files. Only metrics that all
        validations have are read.
    scores: validation scores by which the best weights were chosen.
    stopped: why the run ended; None if the log does not say.
    """

    steps: tuple[int, ...]
    parts: Mapping[str, tuple[float, ...]]
    prompts_per_s: tuple[float, ...]
    epochs: tuple[int, ...]
    metrics: Mapping[str, tuple[float, ...]]
    scores: tuple[float, ...]
    stopped: str | None

    @property
    def best(self) -> int | None:
        """Index in `epochs` of the best validation, the first of equal ones; None without any."""
        return max(range(len(self.scores)), key=self.scores.__getitem__, default=None)

    @property
    def rollouts_per_s(self) -> tuple[float, ...] | None:
        """Candidates found, judged and learned from per second; None if no line counts them."""
        if "candidates" not in self.parts:
            return None
        both = zip(self.prompts_per_s, self.parts["candidates"], strict=True)
        return tuple(prompts * candidates for prompts, candidates in both)


def alignment_history(log: Path) -> AlignmentHistory:
    """Reads the log of an alignment run.

    Args:
        log: `log.jsonl` in the folder of the run.

    Raises:
        ValueError: a line is no JSON object, or lacks a field that every line of its kind has.
    """
    lines = log_lines(log)
    try:
        steps = [line for line in lines if line["kind"] == "step"]
        validated = [
            line for line in lines if line["kind"] == "epoch" and line["validation"] is not None
        ]
        stops = [line["stopped"] for line in lines if line["kind"] == "stop"]
        return AlignmentHistory(
            steps=tuple(line["step"] for line in steps),
            parts=_by_name(steps, "parts"),
            prompts_per_s=tuple(line["targets_per_s"] for line in steps),
            epochs=tuple(line["epoch"] for line in validated),
            metrics=_by_name(validated, "metrics"),
            scores=tuple(line["validation"] for line in validated),
            stopped=stops[-1] if stops else None,
        )
    except KeyError as error:
        raise ValueError(f"{log}: a line lacks {error}: no log of 'sidestep train'.") from error


def _by_name(lines: Sequence[Mapping[str, Any]], field: str) -> dict[str, tuple[float, ...]]:
    """Numbers of a field that holds numbers by name; only names that all lines have."""
    if not lines:
        return {}
    names = [name for name in lines[0][field] if all(name in line[field] for line in lines)]
    return {name: tuple(line[field][name] for line in lines) for name in names}
