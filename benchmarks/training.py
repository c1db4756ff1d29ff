"""Measures the speed of the training loop relative to bare forward and backward passes.

Both sides see the same batches of the same network. `train()` builds and moves the batches, clips,
steps AdamW, logs and writes its checkpoint. The floor only runs forward and backward on batches
that were built before. Windows are synthetic and as long as those of the Amazon Scientific data
(five items on average, some of them twenty and one target more). With --full, all windows have
full length.

    python benchmarks/training.py [--full] [--rounds 5] [--batches 64] [--device cpu]

The last line is one JSON object. Goal: `ratio_to_floor` of at least 0.70.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sidestep.data.windows import WindowBatch, Windows, batches
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.training.config import TrainingConfig
from sidestep.training.loop import train
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.objective_config import NextCodeConfig

NUM_ITEMS = 4344
CODEBOOK_SIZES = (256, 256, 256, 256)
MAX_HISTORY = 20
BATCH_SIZE = 64


def windows_like_scientific(num_windows: int, *, is_full: bool) -> Windows:
    """Makes windows of at most `MAX_HISTORY` random items and one target."""
    generator = np.random.default_rng(0)
    size = MAX_HISTORY + 1
    # Five-core users keep three or more items for training; a geometric tail gives a mean of 5.
    lengths = np.minimum(2 + generator.geometric(1 / 3, num_windows), size)
    if is_full:
        lengths = np.full(num_windows, size)
    return Windows(
        items=generator.integers(0, NUM_ITEMS, int(lengths.sum())),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        first_target=np.ones(num_windows, dtype=np.int64),
    )


def new_objective() -> NextCodeObjective:
    """Makes an objective of the network of the decoding benchmark, always with equal weights."""
    torch.manual_seed(0)
    semantic_ids = torch.stack([torch.randint(0, k, (NUM_ITEMS,)) for k in CODEBOOK_SIZES], dim=1)
    config = TransformerConfig(dim=128, num_layers=4, history="codes")
    return NextCodeObjective(Transformer(config, semantic_ids, CODEBOOK_SIZES), NextCodeConfig())


class Stopwatch:
    """Wall time, and processor time of all threads; a busy machine disturbs the latter less."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """Wall and processor seconds since the start."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def seconds_of_loop(windows: Windows, device: str) -> tuple[float, float]:
    """Times one epoch of the real loop, from the call to the weights on the disk."""
    objective = new_objective()
    config = TrainingConfig(epochs=1, batch_size=BATCH_SIZE, device=device)
    with tempfile.TemporaryDirectory() as folder:
        watch = Stopwatch()
        train(objective, windows, config, folder=Path(folder), seed=0)
        return watch.seconds()


def seconds_of_floor(built: list[WindowBatch], device: torch.device) -> tuple[float, float]:
    """Times forward and backward over the same batches, and nothing else."""
    objective = new_objective().to(device).train()
    is_bf16 = device.type == "cuda"
    _wait(device)
    watch = Stopwatch()
    for batch in built:
        with torch.autocast(device.type, torch.bfloat16, is_bf16):
            loss = objective(batch).loss
        loss.backward()
        objective.zero_grad()
    _wait(device)
    return watch.seconds()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_ratio(floor_s: Sequence[float], loop_s: Sequence[float]) -> float:
    """Ratio of floor and loop in the same round, when the machine was equally busy; median."""
    return statistics.median(floor / loop for floor, loop in zip(floor_s, loop_s, strict=True))


def main() -> None:
    """Measures both sides in turns, so that a busy machine slows both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="windows of full length only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=64)
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto")
    arguments = parser.parse_args()

    has_gpu = arguments.device == "auto" and torch.cuda.is_available()
    device = torch.device("cuda" if has_gpu else "cpu")
    windows = windows_like_scientific(arguments.batches * BATCH_SIZE, is_full=arguments.full)
    built = [batch.to(device) for batch in batches(windows, BATCH_SIZE, seed=0, epoch=0)]
    tokens = int(windows.lengths.sum()) * len(CODEBOOK_SIZES)

    floors, loops = [], []
    for number in range(arguments.rounds + 1):
        floor, loop = seconds_of_floor(built, device), seconds_of_loop(windows, arguments.device)
        print(f"round {number}: floor {floor[0]:.2f} s, loop {loop[0]:.2f} s")
        if number:  # the first round is the warm-up
            floors.append(floor)
            loops.append(loop)
    floor_s, floor_cpu_s = zip(*floors, strict=True)
    loop_s, loop_cpu_s = zip(*loops, strict=True)
    result = {
        "benchmark": "training",
        "ratio_to_floor": median_ratio(floor_s, loop_s),
        "ratio_of_cpu_time": None if has_gpu else median_ratio(floor_cpu_s, loop_cpu_s),
        "loop_tokens_per_s": tokens / statistics.median(loop_s),
        "floor_tokens_per_s": tokens / statistics.median(floor_s),
        "loop_s": loop_s,
        "floor_s": floor_s,
        "loop_cpu_s": loop_cpu_s,
        "floor_cpu_s": floor_cpu_s,
        "tokens": tokens,
        "windows": "full" if arguments.full else "scientific",
        "batches": arguments.batches,
        "batch_size": BATCH_SIZE,
        "max_history": MAX_HISTORY,
        "dim": 128,
        "num_layers": 4,
        "codebook_sizes": CODEBOOK_SIZES,
        "history": "codes",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if has_gpu else platform.machine(),
        "torch": torch.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
