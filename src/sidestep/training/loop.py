"""The training loop, one for every recommender: it knows no network, no loss and no metric."""

import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors.torch import save_file

from sidestep.data.windows import WindowBatch, Windows, batches, num_batches
from sidestep.files import whole_file
from sidestep.training.checkpoint import (
    Checkpoint,
    Weights,
    checkpoints,
    damaged,
    load_checkpoint,
    of_another_version,
    refuse_other_run,
    refuse_other_weights,
    save_checkpoint,
)
from sidestep.training.config import RESUMABLE, TrainingConfig
from sidestep.training.interruption import Interruption, interruption
from sidestep.training.log import TrainingLog
from sidestep.training.objective import Objective
from sidestep.training.optimizer import adamw, load_optimizer
from sidestep.training.placement import forward_precision, training_device
from sidestep.training.progress import Progress, Stopped, TrainingResult, Validate
from sidestep.training.random_state import (
    random_state,
    seed_everything,
    set_random_state,
    unchanged_random_state,
)
from sidestep.training.schedule import learning_rate_at
from sidestep.training.tally import Sums, Tally
from sidestep.training.trackers import Trackers, refuse_missing_trackers

T = TypeVar("T")


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

    Batches, dropout and steps follow from `seed` alone: on a CPU with the same number of threads,
    a run that was killed and resumed ends with the very bits of one that was not. Validation draws
    from no random stream of the training. The first Ctrl-C (or SIGTERM) finishes the step or the
    validation, saves a checkpoint and returns with `stopped="interrupted"`; the second aborts at
    once. Every process of a launch by `accelerate` calls this function and takes its share of the
    batches.

    Args:
        objective: trained in place; ends on the training device, in `eval` mode.
        windows: the training part.
        config: how to train.
        folder: of this run; holds `log.jsonl`, `weights.safetensors` at the end, checkpoints.
        seed: of shuffling and of dropout; the weights were initialised by the caller.
        validate: judges the objective as it is now; None keeps the last weights. Called in `eval`
            mode.
        resume: continue from the newest checkpoint in `folder`; start anew if there is none.
        report: called after every step and validation; must be quick.
        about: what else makes this run what it is (the network's configuration, say), as JSON; a
            checkpoint of a run with another is refused.

    Returns:
        The best score, the time spent and why the run ended.

    Raises:
        ValueError: if there is nothing to train on, if `folder` holds checkpoints and `resume` is
            off, or if they belong to another run or version, or are damaged.
        FloatingPointError: if the loss or a gradient stops being finite.
        ImportError: if the package of a tracker is missing; before anything is done.
    """
    refuse_missing_trackers(config.trackers)
    if not resume:
        refuse_checkpoints(folder)
    with interruption() as asked, unchanged_random_state():
        run = _Run(objective, windows, config, folder, seed, validate, report, asked, about or {})
        try:
            if resume and checkpoints(folder):
                run.restore(checkpoints(folder)[-1])
            return run.result(run.advance())
        finally:
            run.close()


def refuse_checkpoints(folder: Path) -> None:
    """Raises a `ValueError` where a run that does not resume another would write over it."""
    if checkpoints(folder):
        raise ValueError(
            f"{folder} holds checkpoints of an earlier run: resume it, train into another folder, "
            f"or delete {folder} to start anew."
        )


def steps_per_epoch(windows: Windows, config: TrainingConfig, *, num_processes: int = 1) -> int:
    """Steps of the optimizer in a pass over the windows.

    Raises:
        ValueError: there are no windows.
    """
    num_steps = math.ceil(
        num_batches(windows, config.batch_size) / (config.accumulation_steps * num_processes)
    )
    if not num_steps:
        raise ValueError("no training windows: every history is too short to learn from.")
    return num_steps


@dataclass(slots=True, kw_only=True)
class _State:
    """The state of a run beside its tensors; JSON in a checkpoint.

    epoch: epochs that are over, validation included.
    validations_without_gain: since the best one.
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
    line: Sums
    whole_epoch: Sums


class _Run:
    """One call of `train`."""

    def __init__(
        self,
        objective: Objective,
        windows: Windows,
        config: TrainingConfig,
        folder: Path,
        seed: int,
        validate: Validate | None,
        report: Callable[[Progress], None] | None,
        asked: Interruption,
        about: Mapping[str, Any],
    ) -> None:
        self.accelerator = Accelerator()
        self.device = training_device(self.accelerator, config.device)
        self.raw_objective = objective.to(self.device)
        self.objective, self.optimizer = self.accelerator.prepare(
            objective,
            adamw(
                objective,
                weight_decay=config.weight_decay,
                betas=config.betas,
                rate_factors=objective.learning_rate_factors,
            ),
            device_placement=[False, False],
        )
        self.parameters = [weights for weights in objective.parameters() if weights.requires_grad]
        self.precision = forward_precision(self.device, config.precision)
        self.windows, self.config, self.folder, self.seed = windows, config, folder, seed
        self.validate, self.report, self.asked = validate, report, asked

        self.group_size: int = config.accumulation_steps * self.accelerator.num_processes
        self.steps_per_epoch = steps_per_epoch(
            windows, config, num_processes=self.accelerator.num_processes
        )
        self.num_steps = config.epochs * self.steps_per_epoch

        # What a resumed run must have in common with the one before.
        self.identity = {
            "config": config.model_dump(mode="json", exclude=set(RESUMABLE)),
            "seed": seed,
            "windows": windows.fingerprint(),
            "weights": {name: list(w.shape) for name, w in objective.state_dict().items()},
            "processes": self.accelerator.num_processes,
            "about": json.loads(json.dumps(about)),
        }
        self.state = _State(line=Sums(), whole_epoch=Sums())
        self.tally = Tally(self.device, Sums())
        self.best_weights: Weights | None = None
        self.last_line: dict[str, Any] = {}
        self.last_metrics: Mapping[str, float] = {}
        self.validated_epoch: int | None = None
        self.learning_rate = 0.0  # of the last step
        self.log: TrainingLog | None = None
        self.trackers: Trackers | None = None
        seed_everything(seed + self.accelerator.process_index)

        self.began = self.saved_at = self.mark = time.perf_counter()
        self.seconds_before = 0.0

    # What happens, in order

    def advance(self) -> Stopped:
        """Trains until the run is over or must stop, and says why."""
        if self.log is None:
            self._open_log()
        self.objective.train()
        while self.state.epoch < self.config.epochs and not self._is_patience_over():
            for group in self._remaining_groups():
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
            self.raw_objective.load_state_dict(self.best_weights)
        self.objective.eval()
        path = self.folder / "weights.safetensors"
        seconds = self._seconds()
        if self.accelerator.is_main_process:
            with whole_file(path) as temporary:
                save_file(self._weights(), temporary)
        self._write_line(
            {"kind": "stop", "stopped": stopped, "step": state.step, "seconds": seconds}
        )
        self.accelerator.wait_for_everyone()
        return TrainingResult(
            best_score=state.best_score,
            best_epoch=state.best_epoch,
            step=state.step,
            seconds=seconds,
            weights=path,
            stopped=stopped,
        )

    def close(self) -> None:
        """Closes the log."""
        if self.log is not None:
            self.log.close()
        if self.trackers is not None:
            self.trackers.close()

    # Steps

    def _remaining_groups(self) -> Iterator[list[WindowBatch]]:
        """The rest of this epoch; a group is what one optimizer step sees on all devices."""
        epoch = self.state.epoch
        steps_done = self.state.step - epoch * self.steps_per_epoch
        num_per_epoch = num_batches(self.windows, self.config.batch_size)
        stream = batches(
            self.windows,
            self.config.batch_size,
            seed=self.seed,
            epoch=epoch,
            first_batch=min(steps_done * self.group_size, num_per_epoch),
        )
        while group := list(itertools.islice(stream, self.group_size)):
            yield group

    def _step(self, group: list[WindowBatch]) -> None:
        """One optimizer step: the gradient of the mean over all targets of the group."""
        self.learning_rate = self._learning_rate()
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.learning_rate * parameters["rate_factor"]
        num_targets = sum(batch.num_targets for batch in group)
        processes = self.accelerator.num_processes
        mine = group[self.accelerator.process_index :: processes]
        num_rounds = math.ceil(len(group) / processes)
        for index in range(num_rounds):
            # All processes go through as many passes; one that has run out of batches repeats
            # any batch with weight zero.
            has_own = index < len(mine)
            batch = mine[index] if has_own else group[0]
            weight = batch.num_targets if has_own else 0
            is_last = index == num_rounds - 1
            with contextlib.nullcontext() if is_last else self.accelerator.no_sync(self.objective):
                with torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16"):
                    loss = self.objective(batch.to(self.device))
                assert loss.num_targets == batch.num_targets, (
                    "the loss is a mean over other targets"
                )
                # Devices take the mean of their gradients; times their number it is the sum.
                self.accelerator.backward(loss.loss * (weight * processes / num_targets))
            self.tally.add_loss(loss, weight)
        grad_norm = torch.nn.utils.clip_grad_norm_(
            self.parameters, self.config.max_grad_norm or math.inf
        )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.raw_objective.after_step()
        self.state.step += 1
        now = time.perf_counter()
        self.tally.add_step(grad_norm, num_targets, now - self.mark)
        self.mark = now

    def _follow_step(self) -> None:
        """Log, report and checkpoint, where due."""
        if self._is_line_due():
            self._write_step_line()
        self._tell()
        is_due = time.perf_counter() - self.saved_at >= self.config.checkpoint_every_s
        if self._can_agree() and self._agreed(is_due):
            self._save()

    def _end_epoch(self) -> None:
        """Validates where due, remembers the best weights, and saves."""
        state, config = self.state, self.config
        state.epoch += 1
        is_validated = state.epoch % config.validate_every == 0 or state.epoch == config.epochs
        metrics: Mapping[str, float] = {}
        if self.validate is not None and is_validated:
            metrics = self.last_metrics = self._validate(self.validate)
        self._write_line(
            {
                "kind": "epoch",
                "epoch": state.epoch,
                "step": state.step,
                **state.whole_epoch.means(),
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
        state = self.state
        self.validated_epoch = state.epoch
        self.objective.eval()
        with unchanged_random_state():
            validated = validate()
        state.score = self._agreed(float(validated.score))
        self.objective.train()
        if state.best_score is None or state.score > state.best_score:
            state.best_score, state.best_epoch = state.score, state.epoch
            state.validations_without_gain = 0
            self.best_weights = self._weights()
        else:
            state.validations_without_gain += 1
        return validated.metrics

    # When to stop

    def _is_patience_over(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.state.validations_without_gain >= patience

    def _why_stop(self) -> Stopped | None:
        """Whether the run must stop here although it is not over."""
        if not self._can_agree():
            return None
        stopped: Stopped | None = None
        budget = self.config.max_seconds
        if self.asked.is_requested:
            stopped = "interrupted"
        elif self.state.is_limit_reached:
            stopped = "limit"
        elif budget is not None and self._seconds() >= budget:
            stopped = "budget"
        return self._agreed(stopped)

    def _can_agree(self) -> bool:
        """Whether to look at clock and signals; processes must do so together, so rarely."""
        return self.accelerator.num_processes == 1 or self._is_line_due()

    def _is_line_due(self) -> bool:
        step = self.state.step
        return step % self.config.log_every == 0 or step % self.steps_per_epoch == 0

    def _agreed(self, value: T) -> T:
        """The value of the first process, for all."""
        values = [value]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(values)
        return values[0]

    # Numbers

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.began

    def _learning_rate(self) -> float:
        config = self.config
        return learning_rate_at(
            self.state.step,
            num_steps=self.num_steps,
            warmup_steps=round(config.warmup_share * self.num_steps),
            peak=config.learning_rate,
            floor=config.learning_rate * config.final_learning_rate_share,
        )

    def _read_tally(self) -> Sums:
        """The sums since the last line, over all devices."""
        sums = self.tally.tensor()
        if self.accelerator.num_processes > 1:
            # The norm is that of the gradients of all devices already.
            sums = self.accelerator.reduce(sums, "sum")
            sums[-1] /= self.accelerator.num_processes
        line = self.tally.read(sums)
        if not line.is_finite():
            raise FloatingPointError(
                f"the loss or its gradient is not finite within the {line.steps} steps before "
                f"step {self.state.step}; resume from the last checkpoint with a lower "
                "learning_rate or max_grad_norm, or with precision fp32."
            )
        return line

    def _write_step_line(self) -> None:
        line = self._read_tally()
        now = time.perf_counter()  # reading waited for the device, which is part of the work
        line = line.plus(Sums(seconds=now - self.mark))
        self.mark = now
        self.last_line = line.means()
        self.state.is_limit_reached = self.raw_objective.limit_reached(self.last_line["parts"])
        self.state.whole_epoch = self.state.whole_epoch.plus(line)
        self.tally = Tally(self.device, Sums())
        self._write_line(
            {
                "kind": "step",
                "epoch": self._epoch_at_work(),
                "step": self.state.step,
                "learning_rate": self.learning_rate,
                **self.last_line,
                "seconds": self._seconds(),
            }
        )

    def _epoch_at_work(self) -> int:
        """From 1; between two epochs, the one that is over."""
        return max(1, math.ceil(self.state.step / self.steps_per_epoch))

    def _tell(self) -> None:
        if self.report is None:
            return
        state, parts = self.state, self.last_line.get("parts", {})
        self.report(
            Progress(
                epoch=self._epoch_at_work(),
                num_epochs=self.config.epochs,
                step=state.step,
                num_steps=self.num_steps,
                learning_rate=self.learning_rate,
                loss=self.last_line.get("loss"),
                targets_per_s=self.last_line.get("targets_per_s"),
                parts={
                    name: parts[name] for name in self.raw_objective.watched_parts if name in parts
                },
                score=state.score,
                best_score=state.best_score,
                best_epoch=state.best_epoch,
                metrics=self.last_metrics,
                seconds=self._seconds(),
                validated_epoch=self.validated_epoch,
            )
        )

    # Files

    def _open_log(self) -> None:
        if self.accelerator.is_main_process:
            self.log = TrainingLog(self.folder / "log.jsonl", size_bytes=self.state.log_bytes)
            if self.config.trackers:
                self.trackers = Trackers(
                    self.config.trackers,
                    self.folder,
                    step=self.state.step,
                    about={key: self.identity[key] for key in ("config", "seed", "about")},
                )

    def _write_line(self, line: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(line)
        if self.trackers is not None:
            self.trackers.write(line)

    def _weights(self) -> Weights:
        """A copy on the CPU; tied tensors are stored twice, which safetensors wants."""
        return {
            name: weights.detach().to("cpu", copy=True).contiguous()
            for name, weights in self.raw_objective.state_dict().items()
        }

    def _save(self) -> None:
        """Writes a checkpoint of this very moment."""
        self.state.line = self._read_tally()
        self.state.seconds = self._seconds()
        self.state.log_bytes = self.log.size_bytes if self.log is not None else 0
        random_states = gather_object([random_state()])
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.folder,
                Checkpoint(
                    run=self.identity,
                    state=asdict(self.state),
                    weights=self._weights(),
                    best_weights=self.best_weights,
                    optimizer=self.optimizer.state_dict(),
                    random_states=random_states,
                ),
            )
        self.accelerator.wait_for_everyone()
        self.saved_at = self.mark = time.perf_counter()

    def restore(self, path: Path) -> None:
        """Puts everything back to where the checkpoint left it."""
        saved = load_checkpoint(path)
        refuse_other_run(path, saved.run, self.identity)
        try:
            self.state = _State(
                **{
                    **saved.state,
                    "line": Sums(**saved.state["line"]),
                    "whole_epoch": Sums(**saved.state["whole_epoch"]),
                }
            )
        except KeyError as error:
            raise damaged(path, f"state.json lacks {error}") from error
        except TypeError as error:
            raise damaged(path, f"state.json: {error}") from error
        for weights in filter(None, (saved.weights, saved.best_weights)):
            refuse_other_weights(path, weights, self.raw_objective.state_dict())
        self.raw_objective.load_state_dict(saved.weights)
        try:
            load_optimizer(self.optimizer, saved.optimizer)
        except ValueError as error:
            raise of_another_version(path, str(error)) from error
        except (KeyError, TypeError) as error:
            raise damaged(path, f"optimizer.pt: {error}") from error
        self.best_weights = saved.best_weights
        self.tally = Tally(self.device, self.state.line)
        self.seconds_before = self.state.seconds
        process = self.accelerator.process_index
        if process >= len(saved.random_states):
            raise damaged(path, f"random_states.pt has none for process {process}")
        set_random_state(saved.random_states[process])
        self._open_log()
