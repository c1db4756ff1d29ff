"""A shop of ten items in a ring: everybody buys the next item. Run as a script, it trains."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sidestep.data.windows import WindowBatch, Windows
from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train
from sidestep.training.objective import Loss, Objective
from sidestep.training.progress import Progress, TrainingResult, Validated

NUM_ITEMS = 10


class NextInRing(Objective):
    """Objective that predicts an item from the item before it."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding = nn.Embedding(NUM_ITEMS, 8)
            self.norm = nn.LayerNorm(8)
            self.head = nn.Linear(8, NUM_ITEMS)
        self.dropout = nn.Dropout(dropout)

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        return {"embedding": self.embedding, "norm": self.norm, "head": self.head}

    def forward(self, batch: WindowBatch) -> Loss:
        states = self.norm(self.dropout(self.embedding(batch.items[:, :-1].clamp(min=0))))
        logits = self.head(states)[batch.is_target[:, 1:]]
        targets = batch.items[:, 1:][batch.is_target[:, 1:]]
        loss = functional.cross_entropy(logits, targets)
        hits = (logits.argmax(dim=-1) == targets).float().mean()
        return Loss(loss=loss, num_targets=batch.num_targets, parts={"hits": hits})


def ring_windows(num_windows: int) -> Windows:
    """Windows of walks of two to six items around the ring."""
    lengths = np.arange(num_windows) % 5 + 2
    starts = np.cumsum(lengths) - lengths
    items = [(start + step) % NUM_ITEMS for start, n in enumerate(lengths) for step in range(n)]
    return Windows(
        items=np.array(items, dtype=np.int64),
        starts=starts,
        lengths=lengths,
        first_target=np.ones(num_windows, dtype=np.int64),
    )


class Head:
    """Validation whose score depends on the weights, so that the best epoch does too."""

    def __init__(self, objective: NextInRing) -> None:
        self.objective = objective

    def __call__(self) -> Validated:
        torch.rand(3)  # random draws of a validation must not change the training
        assert not self.objective.training
        return Validated(score=-float(self.objective.head.weight.detach().abs().sum()))


RUN = TrainingConfig(epochs=3, batch_size=4, learning_rate=0.05, log_every=4, device="cpu")
"""Six steps per epoch on 24 windows. A log line covers four steps, which may span two epochs."""


def run_toy(
    folder: Path,
    *,
    resume: bool = False,
    slow_down: Callable[[Progress], None] | None = None,
    checkpoint_every_s: float = 1e9,
) -> tuple[NextInRing, TrainingResult]:
    """The run that tests kill, interrupt and resume."""

    objective = NextInRing(dropout=0.5)
    result = train(
        objective,
        ring_windows(24),
        RUN.model_copy(update={"checkpoint_every_s": checkpoint_every_s}),
        folder=folder,
        seed=7,
        validate=Head(objective),
        resume=resume,
        report=slow_down,
    )
    return objective, result


if __name__ == "__main__":
    # Step ten is within the second epoch; the run waits there to be killed.
    run_toy(
        Path(sys.argv[1]),
        slow_down=lambda progress: time.sleep(600 if progress.step == 10 else 0.03),
        checkpoint_every_s=1e-9,
    )
