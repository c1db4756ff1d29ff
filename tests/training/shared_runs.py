"""Small trainings that one process or several do; as a script, the processes of a launch do all.

A run is a function of a folder. The tests call it in one process, and compare.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from training_toy import Head, NextInRing, ring_windows

from sidestep.data.windows import Windows
from sidestep.launch import Launch
from sidestep.model.config import HstuConfig, SasRecConfig, TransformerConfig
from sidestep.model.hstu import Hstu
from sidestep.model.sasrec import SasRec
from sidestep.model.transformer import Transformer
from sidestep.training.config import AdaptivePrecisionConfig, TrainingConfig
from sidestep.training.loop import train
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.next_item import NextItemObjective
from sidestep.training.objective import Objective
from sidestep.training.objective_config import NextCodeConfig, NextItemConfig
from sidestep.training.processes import joined
from sidestep.training.progress import Progress, TrainingResult

WINDOWS = 25
"""Windows of the ring. In batches of 8, the last batch has one window, so one process has none."""

RUN = TrainingConfig(
    epochs=3, batch_size=8, learning_rate=0.05, log_every=1, device="cpu", precision="fp32"
)
"""Four steps per epoch; the log has a line for each."""

NUM_ITEMS = 12


def weighted_windows() -> Windows:
    """Windows over twelve items in a ring, in which some targets weigh less and some nothing."""
    ring = ring_windows(WINDOWS)
    weights = np.resize([1.0, 0.3, 0.0, 1.0, 0.5], len(ring.items))
    weights[ring.starts + 1] = 1.0  # each window keeps a target
    return replace(ring, target_weights=weights)


def unpadded_windows() -> Windows:
    """Windows of one length: figures of layers count padding, and shares have less of it."""
    ring = ring_windows(5 * WINDOWS)
    return ring.select(np.flatnonzero(ring.lengths == 4))


def stop_at(step: int, process: int) -> Callable[[Objective], None]:
    """A function that sends SIGTERM to one process once it has done so many steps."""
    num_steps = 0

    def count() -> None:
        nonlocal num_steps
        num_steps += 1
        if num_steps == step and Launch.of_environment().index == process:
            os.kill(os.getpid(), signal.SIGTERM)

    def watch(objective: Objective) -> None:
        type(objective).after_step = lambda _: count()  # also of a copy of the objective

    return watch


class Watched(NextInRing):
    """Objective whose steps a test may count."""

    @property
    def whole_batch_term(self) -> str | None:
        return None


def ring(
    folder: Path,
    *,
    stop: Callable[[Objective], None] | None = None,
    resume: bool = False,
    dropout: float = 0.0,
    report: Callable[[Progress], None] | None = None,
    windows: Windows | None = None,
    **changes: object,
) -> tuple[Objective, TrainingResult]:
    """Twelve steps on the ring, with a validation after each epoch."""
    kind = type("Watched", (Watched,), {})
    objective = kind(dropout=dropout)
    if stop is not None:
        stop(objective)
    result = train(
        objective,
        ring_windows(WINDOWS) if windows is None else windows,
        RUN.model_copy(update=changes),
        folder=folder,
        seed=7,
        validate=Head(objective),
        resume=resume,
        report=report,
    )
    return objective, result


def of_items(folder: Path, **config: object) -> None:
    """A network over items, with a loss as it is configured."""
    torch.manual_seed(0)
    shape = SasRecConfig(dim=8, num_layers=1, max_items=7, dropout=0.0, temperature=0.5)
    objective = NextItemObjective(SasRec(shape, NUM_ITEMS), NextItemConfig(**config))
    train(objective, weighted_windows(), RUN, folder=folder, seed=7)


def of_layers(folder: Path, **changes: object) -> None:
    """A network over items whose layers are parts of shards."""
    torch.manual_seed(0)
    shape = HstuConfig(dim=8, num_layers=2, num_heads=2, max_items=7, dropout=0.0)
    objective = NextItemObjective(Hstu(shape, NUM_ITEMS), NextItemConfig())
    config = RUN.model_copy(update=changes)
    train(objective, weighted_windows(), config, folder=folder, seed=7)


def of_codes(folder: Path, **changes: object) -> None:
    """A network over semantic IDs with an item head, which teaches the codes."""
    torch.manual_seed(0)
    ids = torch.stack([torch.arange(NUM_ITEMS) // at % n for at, n in ((1, 2), (2, 3), (6, 2))])
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2, dropout=0.0, item_head=True)
    network = Transformer(shape, ids.T, (2, 3, 2))
    config = NextCodeConfig(item_weight=1.0, distillation_weight=0.5)
    objective = NextCodeObjective(network, config)
    settings = RUN.model_copy(update=changes)
    train(objective, weighted_windows(), settings, folder=folder, seed=7)


ADAPTIVE = {
    "precision": "adaptive",
    "adaptive_precision": AdaptivePrecisionConfig(fp32_share=1.0, every_steps=1, sampled_steps=1),
}

RUNS: Mapping[str, Callable[[Path], object]] = {
    "plain": ring,
    "rarely-told": lambda folder: ring(folder, log_every=4),
    "accumulated": lambda folder: ring(folder, batch_size=4, accumulation_steps=2),
    "adaptive": lambda folder: ring(folder, windows=unpadded_windows(), **ADAPTIVE),
    "dropout": lambda folder: ring(folder, dropout=0.5),
    "sharded": lambda folder: ring(folder, sharding="full"),
    "sharded-accumulated": lambda folder: ring(
        folder, sharding="full", batch_size=4, accumulation_steps=2
    ),
    "in-batch": lambda folder: of_items(folder, item_loss="sampled", negatives=("in_batch",)),
    "exact": lambda folder: of_items(folder, label_smoothing=0.1),
    "codes": of_codes,
    "codes-sharded": lambda folder: of_codes(folder, sharding="full"),
    "layers-sharded": lambda folder: of_layers(
        folder, sharding="full", batch_size=4, accumulation_steps=2
    ),
}
"""Trainings from the first step to the last."""

STOPPED = 6
"""The step at which runs are interrupted: the second of the second epoch, and of a line."""

SHARDINGS = ("none", "full")


def main(folder: Path, to_resume: Path) -> None:
    """All runs; interrupted runs, which then go on; and the end of runs of one process."""
    with joined("cpu") as processes:
        for name, run in RUNS.items():
            run(folder / name)
        for sharding in SHARDINGS:
            place = folder / f"stopped-{sharding}"
            changes = {"sharding": sharding, "log_every": 4}
            _, result = ring(place, stop=stop_at(STOPPED, process=1), **changes)
            if processes.is_first:
                (place / "stopped-at").write_text(str(result.step))
            # The same runs, but one of them goes on here, and the other in the test.
            ring(folder / f"left-{sharding}", stop=stop_at(STOPPED, process=0), **changes)
            ring(place, resume=True, **changes)
            ring(to_resume / f"one-{sharding}", resume=True, **changes)
        drawn = folder / "dropout-stopped"
        ring(drawn, dropout=0.5, stop=stop_at(STOPPED, process=1))
        ring(drawn, dropout=0.5, resume=True)
        refused = NextInRing()
        try:
            train(refused, ring_windows(8), RUN, folder=folder / "refused", seed=0)
        except ValueError as error:
            (folder / f"refusal-{processes.index}").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
