"""The steps of a training: their number, their batches and their learning rates."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from sidestep.data.windows import Share, WindowBatch, Windows, batches, num_batches
from sidestep.training.config import TrainingConfig
from sidestep.training.schedule import learning_rate_at


def steps_per_epoch(windows: Windows, config: TrainingConfig) -> int:
    """Steps of the optimizer in a pass over the windows.

    Raises:
        ValueError: there are no windows.
    """
    num_steps = math.ceil(num_batches(windows, config.batch_size) / config.accumulation_steps)
    if not num_steps:
        raise ValueError("no training windows: every history is too short to learn from.")
    return num_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """The steps of a training; the seed decides their batches, whoever shares them.

    windows: the training part.
    config: how to train.
    seed: of shuffling.
    share: of this process in each batch.
    steps_per_epoch: steps of the optimizer in a pass over the windows.
    """

    windows: Windows
    config: TrainingConfig
    seed: int
    share: Share
    steps_per_epoch: int

    @staticmethod
    def of(windows: Windows, config: TrainingConfig, *, seed: int, share: Share) -> "StepPlan":
        """The plan of a training.

        Raises:
            ValueError: there are no windows.
        """
        return StepPlan(
            windows=windows,
            config=config,
            seed=seed,
            share=share,
            steps_per_epoch=steps_per_epoch(windows, config),
        )

    @property
    def num_steps(self) -> int:
        """Steps of the whole training."""
        return self.config.epochs * self.steps_per_epoch

    def remaining(self, epoch: int, step: int) -> Iterator[list[WindowBatch]]:
        """The rest of an epoch, as groups of batches; one optimizer step sees one group.

        Args:
            epoch: epochs that are over.
            step: steps that are done, in all.
        """
        group_size = self.config.accumulation_steps
        num_per_epoch = num_batches(self.windows, self.config.batch_size)
        first = (step - epoch * self.steps_per_epoch) * group_size
        stream = batches(
            self.windows,
            self.config.batch_size,
            seed=self.seed,
            epoch=epoch,
            first_batch=min(first, num_per_epoch),
            share=self.share,
        )
        while group := list(itertools.islice(stream, group_size)):
            yield group

    def learning_rate(self, step: int) -> float:
        """The learning rate of the step after so many steps."""
        config = self.config
        return learning_rate_at(
            step,
            num_steps=self.num_steps,
            warmup_steps=round(config.warmup_share * self.num_steps),
            peak=config.learning_rate,
            floor=config.learning_rate * config.final_learning_rate_share,
        )

    def is_line_due(self, step: int) -> bool:
        """Whether the log gets a line after so many steps."""
        return step % self.config.log_every == 0 or step % self.steps_per_epoch == 0

    def epoch_at_work(self, step: int) -> int:
        """The number of the current epoch, from 1; between two epochs, of the one before."""
        return max(1, math.ceil(step / self.steps_per_epoch))
