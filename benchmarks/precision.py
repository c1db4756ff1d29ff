"""Measures targets per second of a training step in fp32, in bf16 and in adaptive precision.

The network is a Transformer that reads items as vectors, with a tied item head. Codes are random,
and the popularity of items follows a power law. A step has 64 windows of 10 targets. The parts of
the loss are those of `large_catalog.py`. The precisions take turns, so that other work of the
machine disturbs all of them alike. `adaptive` is timed after its first choice. `watched` is fp32
with the sums of K-FAC at every step; a training in adaptive precision watches few of its steps.

    python benchmarks/precision.py --results benchmarks/results/precision.jsonl
    python benchmarks/precision.py --device auto --dim 256 --layers 4   # also on a GPU
    python benchmarks/precision.py --runs RUN...                        # the logs of trainings

The result is one JSON object. Rates are medians over the turns: targets per second on an
accelerator, and targets per processor second on a CPU. With `--runs` nothing is timed: each line
says what the log of a training says, of quality and of the layers.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from large_catalog import BATCH_SIZE, CODEBOOK_SIZES, NUM_TARGETS, SETTINGS, power_law_windows
from result_line import add_results_option, finish, now, processor
from sidestep.data.windows import batches
from sidestep.launch import Launch
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.training.config import TrainingConfig
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.objective_config import NextCodeConfig
from sidestep.training.processes import Processes, training_device
from sidestep.training.sharing import Alone
from sidestep.training.tally import Sums, Tally
from sidestep.training.update import Update

_NEVER = 10**9


def main() -> None:
    """Times the precisions in turns, or reads the logs of trainings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=4344)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--setting", choices=list(SETTINGS), default="distilled")
    parser.add_argument("--share", type=float, default=0.25, help="of the work, in fp32")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of each precision in a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu"], default="cpu")
    parser.add_argument("--note", help="note on other work of the machine")
    parser.add_argument("--runs", nargs="+", type=Path, help="folders of trainings to read")
    add_results_option(parser)
    arguments = parser.parse_args()
    if arguments.runs:
        for run in arguments.runs:
            finish(of_log(run), arguments.results)
        return
    torch.set_num_threads(arguments.threads)
    finish(measured(arguments), arguments.results)


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times all precisions, and says what it ran on."""
    device = training_device(Launch(), arguments.device)
    adaptive = {"every_steps": _NEVER, "fp32_share": arguments.share}
    updates = {
        "fp32": _update(arguments, device, "fp32", None),
        "bf16": _update(arguments, device, "bf16", None),
        "adaptive": _update(arguments, device, "adaptive", {**adaptive, "sampled_steps": 1}),
        "watched": _update(arguments, device, "adaptive", {**adaptive, "sampled_steps": _NEVER}),
    }
    windows = power_law_windows(arguments.items, num_windows=BATCH_SIZE * arguments.steps)
    group = list(batches(windows, BATCH_SIZE, seed=0, epoch=0))
    tally = Tally(device, Sums())
    rates: dict[str, list[float]] = {name: [] for name in updates}
    for turn in range(arguments.turns + 1):
        for name, update in updates.items():
            began = _clock(device)
            for batch in group:
                update.step([batch], tally, learning_rate=1e-3)
            seconds = _clock(device) - began
            # The first turn makes what later ones use again, and has the first choice.
            if turn:
                rates[name].append(BATCH_SIZE * NUM_TARGETS * len(group) / seconds)
    chosen = updates["adaptive"].adaptive
    assert chosen is not None
    assert chosen.assignment is not None
    return {
        "benchmark": "precision",
        **{f"{name}_targets_per_s": statistics.median(each) for name, each in rates.items()},
        "ranges": {name: [min(each), max(each)] for name, each in rates.items()},
        "fp32_share": chosen.assignment.fp32_share,
        "items": arguments.items,
        "dim": arguments.dim,
        "layers": arguments.layers,
        "setting": arguments.setting,
        "turns": arguments.turns,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": arguments.threads,
        "torch": torch.__version__,
        "time": now(),
        "note": arguments.note,
    }


def of_log(run: Path) -> dict[str, Any]:
    """Reads the log of a training: quality, targets per second, and the last choice."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    best = max(epochs, key=lambda line: line["validation"] or 0.0)
    choices = [line for line in lines if line["kind"] == "precision"]
    last = choices[-1]["layers"] if choices else {}
    return {
        "benchmark": "precision of a run",
        "run": run.name,
        "epochs": len(epochs),
        "best_epoch": best["epoch"],
        "validation": best["metrics"],
        "loss": epochs[-1]["loss"],
        "parts": epochs[-1]["parts"],
        "targets_per_s": [line["targets_per_s"] for line in epochs],
        "choices": len(choices),
        "fp32": [name for name, layer in last.items() if layer["precision"] == "fp32"],
        "layers": last,
    }


def _update(
    arguments: argparse.Namespace,
    device: torch.device,
    precision: str,
    adaptive: dict[str, Any] | None,
) -> Update:
    """The steps of a training in one precision; all of them begin with the same weights."""
    torch.manual_seed(0)
    semantic_ids = torch.stack(
        [torch.randint(0, size, (arguments.items,)) for size in CODEBOOK_SIZES], dim=1
    )
    config = NextCodeConfig.model_validate(SETTINGS[arguments.setting])
    has_head = config.item_weight is not None
    shape = TransformerConfig(
        dim=arguments.dim,
        num_layers=arguments.layers,
        num_heads=arguments.dim // 32,
        history="items",
        item_embedding=True,
        item_head=has_head,
        tied_item_head=has_head,
        repeat_bias=has_head,
        dropout=0.3,
    )
    objective = NextCodeObjective(Transformer(shape, semantic_ids, CODEBOOK_SIZES), config)
    objective.prepare(power_law_windows(arguments.items, num_windows=BATCH_SIZE))
    training = TrainingConfig.model_validate(
        {"device": arguments.device, "precision": precision, "adaptive_precision": adaptive}
    )
    processes = Processes(device=device)
    update = Update(Alone(objective, processes), training, processes)
    update.objective.train()
    return update


def _clock(device: torch.device) -> float:
    """Seconds once the device has finished; processor seconds, which other work disturbs less."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
