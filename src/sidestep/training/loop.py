"""The training loop, one for every recommender: it knows no network, no loss and no metric."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from sidestep.data.windows import WindowBatch, Windows
from sidestep.files import whole_file
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.training.checkpoint import (
    Checkpoint,
    CheckpointStore,
    Weights,
    WholeCheckpoints,
    refuse_checkpoints,
    weights_on_cpu,
)
from sidestep.training.config import TrainingConfig
from sidestep.training.interruption import Interruption, interruption
from sidestep.training.journal import Journal
from sidestep.training.layer_precision import Assignment
from sidestep.training.objective import Objective
from sidestep.training.processes import Processes, joined
from sidestep.training.progress import Progress, Stopped, TrainingResult, Validate, Validated
from sidestep.training.random_state import (
    RandomState,
    random_state,
    seed_everything,
    set_random_state,
    unchanged_random_state,
)
from sidestep.training.run_state import RunState, run_identity
from sidestep.training.sharing import Alone, Replicated, Sharing, refuse_undivided
from sidestep.training.step_plan import StepPlan
from sidestep.training.tally import Sums, Tally
from sidestep.training.trackers import refuse_missing_trackers
from sidestep.training.update import Update

with imported_when_used():  # they are slow to import
    from sidestep.training import fully_sharded, sharded_checkpoints

_REASONS: tuple[Stopped | None, ...] = (None, "budget", "limit", "interrupted")
"""Reasons to stop a run before its end, the weightiest last."""


def train(
    objective: Objective,
    windows: Windows,
    config: TrainingConfig,
    *,
    folder: Path,
    seed: int,
    validate: Validate | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] | None = None,
    about: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Lowers an objective over windows of histories and leaves it with its best weights.

    Batches, dropout and steps follow from `seed` alone: in one process on a CPU with the same
    number of threads, a run that was killed and resumed ends with the very bits of one that was
    not. Validation draws from no random stream of the training. The first Ctrl-C (or SIGTERM)
    finishes the step or the validation, saves a checkpoint and returns with
    `stopped="interrupted"`; the second aborts at once. Every process of a launch by `torchrun`
    calls this function and takes its share of every batch; the first process writes, validates and
    reports for all.

    Args:
        objective: trained in place; ends on the training device, in `eval` mode.
        windows: the training part.
        config: how to train.
        folder: of this run; holds `log.jsonl`, `weights.safetensors` at the end, checkpoints.
        seed: of shuffling and of dropout; the weights were initialised by the caller.
        validate: judges the objective as it is now; None keeps the last weights. Called in `eval`
            mode.
        resume: continue from the newest checkpoint in `folder`; start anew if there is none.
        report: called after every step and validation; must be quick. Only the first process calls.
        about: what else makes this run what it is (the network's configuration, say), as JSON; a
            checkpoint of a run with another is refused.

    Returns:
        The best score, the time spent and why the run ended.

    Raises:
        ConnectionError: if another process of the launch ends before its time.
        ValueError: if there is nothing to train on, if `folder` holds checkpoints and `resume` is
            off, if they belong to another run or version, or are damaged, or if several processes
            cannot share the batches of the objective.
        FloatingPointError: if the loss or a gradient stops being finite.
        ImportError: if the package of a tracker is missing; before anything is done.
    """
    refuse_missing_trackers(config.trackers)
    if not resume:
        refuse_checkpoints(folder)
    with (
        joined(config.device) as processes,
        interruption() as asked,
        unchanged_random_state(),
    ):
        run = _Run(
            objective,
            windows,
            config,
            processes,
            folder,
            seed,
            validate,
            report,
            asked,
            about or {},
        )
        try:
            if processes.of_first(resume and not run.store.is_empty()):
                run.restore()
            return run.result(run.advance())
        finally:
            run.close()


class _Run:
    """One call of `train`."""

    def __init__(
        self,
        objective: Objective,
        windows: Windows,
        config: TrainingConfig,
        processes: Processes,
        folder: Path,
        seed: int,
        validate: Validate | None,
        report: Callable[[Progress], None] | None,
        asked: Interruption,
        about: Mapping[str, Any],
    ) -> None:
        self.processes, self.device = processes, processes.device
        objective.prepare(windows)
        self.sharing = _sharing(objective, config, processes)
        self.objective = self.sharing.trained
        self.update = Update(self.sharing, config, processes)
        self.config, self.folder = config, folder
        self.store = self._store()
        self.validate, self.asked = validate, asked
        self.report = report if processes.is_first else None

        self.plan = StepPlan.of(windows, config, seed=seed, share=processes.share)

        self.identity = run_identity(
            config,
            windows,
            objective.state_dict(),
            seed=seed,
            about=about,
        )
        self.state = RunState()
        self.tally = Tally(self.device, Sums())
        self.best_weights: Weights | None = None
        self.last_line: dict[str, Any] = {}
        self.last_metrics: Mapping[str, float] = {}
        self.validated_epoch: int | None = None
        self.learning_rate = 0.0  # of the last step
        self.journal = Journal(folder, config.trackers)
        self.seed = seed
        seed_everything(seed + processes.index)

        self.began = self.saved_at = self.mark = time.perf_counter()
        self.seconds_before = 0.0

    # What happens, in order

    def advance(self) -> Stopped:
        """Trains until the run is over or must stop, and says why."""
        if not self.journal.is_open:
            self._open_journal()
        self.objective.train()
        while self.state.epoch < self.config.epochs and not self._is_patience_over():
            for group in self.plan.remaining(self.state.epoch, self.state.step):
                if (stopped := self._why_stop()) is not None:
                    self._save()
                    return stopped
                self._step(group)
                self._follow_step()
            if (stopped := self._why_stop()) is not None:
                self._save()
                return stopped
            self._end_epoch()
        return "patience" if self.state.epoch < self.config.epochs else "finished"

    def result(self, stopped: Stopped) -> TrainingResult:
        """Loads and writes the best weights."""
        state = self.state
        if self.best_weights is not None:
            self.sharing.load(self.best_weights)
        self.sharing.bring_home()
        home = self.sharing.home.eval()
        path = self.folder / "weights.safetensors"
        seconds = self._seconds()
        if self.processes.is_first:
            with whole_file(path) as temporary:
                save_file(weights_on_cpu(home), temporary)
        self.journal.write(
            {"kind": "stop", "stopped": stopped, "step": state.step, "seconds": seconds}
        )
        self._tell_precision()
        self.processes.wait()
        return TrainingResult(
            best_score=state.best_score,
            best_epoch=state.best_epoch,
            step=state.step,
            seconds=seconds,
            weights=path,
            stopped=stopped,
        )

    def close(self) -> None:
        """Closes the log, and makes the network ready for another training."""
        self.journal.close()
        self.update.close()

    # Steps

    def _step(self, group: list[WindowBatch]) -> None:
        """One optimizer step: the gradient of the mean over all targets of the group."""
        self.learning_rate = self.plan.learning_rate(self.state.step)
        grad_norm = self.update.step(group, self.tally, learning_rate=self.learning_rate)
        self.state.step += 1
        now = time.perf_counter()
        num_targets = sum(batch.num_batch_targets for batch in group)
        self.tally.add_step(grad_norm, num_targets, now - self.mark)
        self.mark = now

    def _follow_step(self) -> None:
        """Log, report and checkpoint, where due."""
        if self.update.assigned is not None:
            self._write_precision_line(self.update.assigned)
        if self.plan.is_line_due(self.state.step):
            self._write_step_line()
        self._tell()
        is_due = time.perf_counter() - self.saved_at >= self.config.checkpoint_every_s
        if self.processes.largest(int(is_due)):
            self._save()

    def _end_epoch(self) -> None:
        """Validates where due, remembers the best weights, and saves."""
        state, config = self.state, self.config
        state.epoch += 1
        is_validated = state.epoch % config.validate_every == 0 or state.epoch == config.epochs
        metrics: Mapping[str, float] = {}
        if self.validate is not None and is_validated:
            metrics = self.last_metrics = self._validate(self.validate)
        self.last_line = state.whole_epoch.means()
        self.journal.write(
            {
                "kind": "epoch",
                "epoch": state.epoch,
                "step": state.step,
                **self.last_line,
                "training_s": state.whole_epoch.seconds,
                "seconds": self._seconds(),
                "validation": state.score if self.validate is not None and is_validated else None,
                "best": state.best_score,
                "metrics": dict(metrics),
            }
        )
        state.whole_epoch = Sums()
        self._tell()
        self._save()

    def _validate(self, validate: Validate) -> Mapping[str, float]:
        """Remembers the weights if they are the best so far; returns what else was measured."""
        self.validated_epoch = self.state.epoch
        validated: Validated | None = None
        with self.sharing.at_home() as home:
            if self.processes.is_first:
                home.eval()
                with unchanged_random_state():
                    validated = validate()
                home.train()
            validated = self.processes.of_first(validated)
        assert validated is not None, "the first process validates"
        if self.state.remember(float(validated.score)):
            self.best_weights = self.sharing.weights()
        return validated.metrics

    # When to stop

    def _is_patience_over(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.state.validations_without_gain >= patience

    def _why_stop(self) -> Stopped | None:
        """Whether the run must stop here although it is not over; the same for all processes."""
        stopped: Stopped | None = None
        budget = self.config.max_seconds
        if self.asked.is_requested:
            stopped = "interrupted"
        elif self.state.is_limit_reached:
            stopped = "limit"
        elif budget is not None and self._seconds() >= budget:
            stopped = "budget"
        return _REASONS[self.processes.largest(_REASONS.index(stopped))]

    # Numbers

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.began

    def _read_tally(self) -> Sums:
        """The sums since the last line, over all processes."""
        sums = self.processes.sum(self.tally.tensor())
        # The norm is that of the gradients of all processes already.
        sums[-1] /= self.processes.count
        line = self.tally.read(sums)
        line.refuse_infinite(self.state.step)
        return line

    def _write_step_line(self) -> None:
        line = self._read_tally()
        now = time.perf_counter()  # reading waited for the device, which is part of the work
        line = line.plus(Sums(seconds=now - self.mark))
        self.mark = now
        self.last_line = line.means()
        self.state.is_limit_reached = self.objective.limit_reached(self.last_line["parts"])
        self.state.whole_epoch = self.state.whole_epoch.plus(line)
        self.tally = Tally(self.device, Sums())
        self.journal.write(
            {
                "kind": "step",
                "epoch": self.plan.epoch_at_work(self.state.step),
                "step": self.state.step,
                "learning_rate": self.learning_rate,
                **self.last_line,
                "seconds": self._seconds(),
            }
        )

    def _write_precision_line(self, assigned: Assignment) -> None:
        self.journal.write(
            {
                "kind": "precision",
                "epoch": self.plan.epoch_at_work(self.state.step),
                "step": self.state.step,
                **assigned.as_json(),
            }
        )

    def _tell_precision(self) -> None:
        """Says which layers are in fp32 at the end of the run."""
        adaptive = self.update.adaptive
        if adaptive is None or not self.processes.is_first:
            return
        if adaptive.assignment is None:
            note("The run ended before the first choice of precisions: all of it was fp32.")
        else:
            note(f"At the end, {adaptive.assignment.in_words()}")

    def _tell(self) -> None:
        if self.report is None:
            return
        state, parts = self.state, self.last_line.get("parts", {})
        self.report(
            Progress(
                epoch=self.plan.epoch_at_work(self.state.step),
                num_epochs=self.config.epochs,
                step=state.step,
                num_steps=self.plan.num_steps,
                learning_rate=self.learning_rate,
                loss=self.last_line.get("loss"),
                targets_per_s=self.last_line.get("targets_per_s"),
                parts={name: parts[name] for name in self.objective.watched_parts if name in parts},
                score=state.score,
                best_score=state.best_score,
                best_epoch=state.best_epoch,
                metrics=self.last_metrics,
                seconds=self._seconds(),
                validated_epoch=self.validated_epoch,
            )
        )

    # Files

    def _store(self) -> CheckpointStore:
        whole = WholeCheckpoints(self.folder, is_writer=self.processes.is_first)
        if self.config.sharding == "none":
            return whole
        return sharded_checkpoints.ShardedCheckpoints(
            whole, self.processes, self.update.numbered_parameters
        )

    def _open_journal(self) -> None:
        if self.processes.is_first:
            self.journal.open(
                size_bytes=self.state.log_bytes,
                step=self.state.step,
                about={key: self.identity[key] for key in ("config", "seed", "about")},
            )

    def _save(self) -> None:
        """Writes a checkpoint of this very moment."""
        self.state.line = self._read_tally()
        self.state.seconds = self._seconds()
        self.state.log_bytes = self.journal.size_bytes
        self.store.save(
            Checkpoint(
                run=self.identity,
                state=asdict(self.state),
                weights=self.sharing.weights(),
                best_weights=self.best_weights,
                optimizer=self.update.state_dict(),
                random_states=self.processes.gathered(random_state()),
            ),
        )
        self.processes.wait()
        self.saved_at = self.mark = time.perf_counter()

    def restore(self) -> None:
        """Puts everything back to where the newest checkpoint left it."""
        store = self.store
        saved = store.newest(self.identity, self.objective.state_dict())
        try:
            self.state = RunState.of(saved.state)
        except KeyError as error:
            raise store.damaged(f"state.json lacks {error}") from error
        except TypeError as error:
            raise store.damaged(f"state.json: {error}") from error
        self.sharing.load(saved.weights)
        try:
            self.update.load_state_dict(saved.optimizer)
        except ValueError as error:
            raise store.of_another_version(str(error)) from error
        except (KeyError, TypeError) as error:
            raise store.damaged(f"optimizer.pt: {error}") from error
        self.best_weights = saved.best_weights
        # The sums of the line so far are those of all processes: one of them goes on with the sums.
        line = self.state.line if self.processes.is_first else self.state.line.emptied()
        self.tally = Tally(self.device, line)
        self.seconds_before = self.state.seconds
        self._restore_random_state(saved.random_states)
        self._open_journal()

    def _restore_random_state(self, states: list[RandomState]) -> None:
        """Goes on with the random draws, or draws anew where another number of processes drew."""
        if not states:
            raise self.store.damaged("random_states.pt has none for process 0")
        if len(states) == self.processes.count:
            set_random_state(states[self.processes.index])
            return
        seeds = np.random.SeedSequence([self.seed, self.state.step, self.processes.index])
        seed_everything(int(seeds.generate_state(1)[0]))
        if self.processes.is_first:
            note(
                f"The checkpoint was written by {len(states)} processes, and {self.processes.count}"
                " go on. Batches, weights and optimizer are those of the checkpoint; dropout and "
                "other random draws are new ones."
            )


def _sharing(objective: Objective, config: TrainingConfig, processes: Processes) -> Sharing:
    """The way in which the processes share an objective, which moves to the device."""
    refuse_undivided(objective, processes.count)
    if processes.count == 1:
        return Alone(objective, processes)
    if config.sharding == "none":
        return Replicated(objective, processes)
    return fully_sharded.Sharded(objective, processes)
