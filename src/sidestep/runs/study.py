"""Studies, by Optuna: the settings that are tried next, and the trials that were made.

Optuna comes with the extra `tune`, and keeps the trials in a file. A process may be killed at any
time: its trial stays open in the file, and the next process continues this trial first.

The draws of a trial follow from the seed, the number of the trial and the trials before it. So an
interrupted study tries the same settings as one that was never interrupted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sidestep.evaluation.tuning import Trial
from sidestep.runs.search_space import SearchSpace

_NAME = "tune"

_NUM_RANDOM = 4
"""Trials that are drawn at random, before the sampler learns from their scores."""

_NUM_UNPRUNED = 3
"""Finished trials without which no trial is pruned: a median of fewer says little."""

_STEPS, _SECONDS, _EPOCH, _SCORE, _REASON = "steps", "seconds", "best_epoch", "score", "reason"
"""Names under which a trial keeps what Optuna has no place for."""


class OpenTrial:
    """A trial that is not over: a new one, or one that was interrupted."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, space: SearchSpace) -> None:
        self._study, self._trial = study, trial
        self.settings = {name: values.drawn(trial, name) for name, values in space.items()}
        """The values to try, by the name of the setting."""

    @property
    def number(self) -> int:
        """The number of the trial, from 0."""
        return self._trial.number

    def is_hopeless(self, score: float, *, epoch: int) -> bool:
        """Keeps a validation, and tells whether the trial is to be pruned."""
        with _quiet():
            frozen = self._study.trials[self.number]
            if epoch not in frozen.intermediate_values:  # a resumed training repeats the last one
                self._trial.report(score, epoch)
            return bool(self._trial.should_prune())

    def finish(self, score: float, *, best_epoch: int | None, steps: int, seconds: float) -> None:
        """Closes the trial after a whole training."""
        self._keep(score=score, best_epoch=best_epoch, steps=steps, seconds=seconds)
        self._study.tell(self._trial, score)

    def prune(self, score: float, *, best_epoch: int | None, steps: int, seconds: float) -> None:
        """Closes the trial, whose training was stopped early."""
        self._keep(score=score, best_epoch=best_epoch, steps=steps, seconds=seconds)
        self._study.tell(self._trial, state=optuna.trial.TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """Closes the trial, whose settings cannot be trained."""
        self._keep(reason=reason)
        self._study.tell(self._trial, state=optuna.trial.TrialState.FAIL)

    def _keep(self, **facts: Any) -> None:
        for name, value in facts.items():
            self._trial.set_user_attr(name, value)


class Study:
    """The trials of a study. One process at a time may have it open."""

    def __init__(
        self,
        journal: Path,
        space: SearchSpace,
        *,
        seed: int,
        start: Mapping[str, Any],
        pruned_after: int | None,
    ) -> None:
        """Opens the study of a file, or begins one.

        Args:
            journal: the file; its folder is there.
            space: to draw from.
            seed: of the draws.
            start: answers for the first trial, see `search_space.start_of`.
            pruned_after: epochs before which no trial is pruned; None prunes no trial.
        """
        self._space, self._seed = space, seed
        _repair(journal)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        with _quiet():
            self._study = optuna.create_study(
                storage=storage,
                study_name=_NAME,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.NopPruner()
                if pruned_after is None
                else optuna.pruners.MedianPruner(
                    n_startup_trials=_NUM_UNPRUNED, n_warmup_steps=pruned_after
                ),
            )
            if not self._study.trials:
                self._study.enqueue_trial(dict(start))

    def next_trial(self) -> OpenTrial:
        """The trial that was interrupted, else a new one."""
        states = optuna.trial.TrialState
        trials = self._study.trials
        begun = [trial for trial in trials if trial.state == states.RUNNING]
        number = begun[0].number if begun else _num_begun(trials)
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_NUM_RANDOM,
            seed=int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0]),
            constant_liar=False,
        )
        with _quiet():
            trial = optuna.Trial(self._study, begun[0]._trial_id) if begun else self._study.ask()
            return OpenTrial(self._study, trial, self._space)

    def closed(self) -> list[Trial]:
        """The trials that are over, in the order of their numbers."""
        return [
            _told(trial, self._space) for trial in self._study.trials if trial.state.is_finished()
        ]


def _num_begun(trials: list[optuna.trial.FrozenTrial]) -> int:
    return sum(trial.state != optuna.trial.TrialState.WAITING for trial in trials)


def _told(frozen: optuna.trial.FrozenTrial, space: SearchSpace) -> Trial:
    states = optuna.trial.TrialState
    facts = frozen.user_attrs
    known = optuna.trial.FixedTrial(frozen.params)
    outcomes = {states.COMPLETE: "finished", states.PRUNED: "pruned", states.FAIL: "failed"}
    return Trial(
        number=frozen.number,
        outcome=outcomes[frozen.state],  # type: ignore[arg-type]
        settings={name: values.drawn(known, name) for name, values in space.items()},
        score=facts.get(_SCORE),
        best_epoch=facts.get(_EPOCH),
        steps=facts.get(_STEPS, 0),
        seconds=facts.get(_SECONDS, 0.0),
        reason=facts.get(_REASON),
    )


def _repair(journal: Path) -> None:
    """Removes what a process that was killed while it wrote has left: half a line, and a lock.

    No other process writes, because this one holds the folder of the study.
    """
    lock = journal.with_name(journal.name + ".lock")
    lock.unlink(missing_ok=True)
    if not journal.is_file():
        return
    whole = journal.read_bytes().rpartition(b"\n")
    if whole[2]:
        os.truncate(journal, len(whole[0]) + len(whole[1]))


@contextmanager
def _quiet() -> Iterator[None]:
    """A block in which Optuna tells warnings alone."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
