"""Measures time and memory of a training step by the number of items in the catalog.

The network is that of the default pipeline: a Transformer that reads items as vectors, with vectors
of the items' own and a tied item head. Codes are random, and the popularity of items follows a
power law. A step has 64 windows of 10 targets. A setting names the parts of the loss: `no-head` has
the codes, `head` also the item head, `distilled` also the distillation from the item head into the
codes. The loss of the item head has one of three forms. Each setting runs in a process of its own,
whose memory is limited; a setting that needs more memory is reported as an error.

    python benchmarks/large_catalog.py --results benchmarks/results/large_catalog.jsonl
    python benchmarks/large_catalog.py --items 1e6 --settings no-head distilled

Each line printed is one JSON object: the medians of the processor seconds of a step and of its
parts, and the peak of the memory. Goal: a step of `distilled` at 10^6 items takes at most twice as
long as one of `no-head`, within 8 GB.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from result_line import add_results_option, finish, now, processor
from sidestep.data.windows import Windows, batches
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.training.config import TrainingConfig
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.objective_config import NextCodeConfig
from sidestep.training.processes import Processes
from sidestep.training.sharing import Alone
from sidestep.training.tally import Sums, Tally
from sidestep.training.update import Update

SETTINGS = {
    "no-head": {},
    "head": {"item_weight": 1.0},
    "distilled": {"item_weight": 1.0, "distillation_weight": 2.0},
}
LOSSES = ["exact", "chunked", "sampled"]
CODEBOOK_SIZES = (256, 256, 256, 256)
BATCH_SIZE, NUM_TARGETS = 64, 10


def main() -> None:
    """Measures the settings one after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", nargs="+", type=_count, default=[10**4, 10**5, 10**6])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    parser.add_argument("--own-rows", action="store_true", help="an item head with its own rows")
    parser.add_argument("--updates", choices=["auto", "dense", "sparse"], default="auto")
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed, after one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-gb", type=float, default=10.0, help="limit of each process")
    parser.add_argument("--note", help="note on other work of the machine")
    parser.add_argument("--one", action="store_true", help="measure here: one size, one setting")
    add_results_option(parser)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(arguments)))
        return
    for items in arguments.items:
        for setting in arguments.settings:
            for loss in arguments.losses if setting != "no-head" else ["exact"]:
                finish(_in_own_process(arguments, items, setting, loss), arguments.results)


def _count(text: str) -> int:
    return int(float(text))


def _in_own_process(
    arguments: argparse.Namespace, items: int, setting: str, loss: str
) -> dict[str, object]:
    """The result of one setting, or the reason why there is none."""
    asked = {
        "benchmark": "large_catalog",
        "items": items,
        "setting": setting,
        "item_loss": None if setting == "no-head" else loss,
        "own_rows": arguments.own_rows,
        "item_updates": arguments.updates,
        "threads": arguments.threads,
        "processor": processor(),
        "torch": torch.__version__,
        "time": now(),
        "note": arguments.note,
    }
    command = [
        *(sys.executable, __file__, "--one", "--items", str(items), "--settings", setting),
        *("--losses", loss, "--updates", arguments.updates),
        *("--steps", str(arguments.steps), "--threads", str(arguments.threads)),
        *("--memory-gb", str(arguments.memory_gb)),
        *(["--own-rows"] if arguments.own_rows else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return asked | {"error": reason[:200], "memory_gb": arguments.memory_gb}
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return asked | result


def measured(arguments: argparse.Namespace) -> dict[str, object]:
    """Times some steps of one setting, in this process."""
    limit = int(arguments.memory_gb * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_num_threads(arguments.threads)
    (num_items,), (setting,), (loss,) = arguments.items, arguments.settings, arguments.losses
    windows = power_law_windows(num_items, num_windows=BATCH_SIZE * (arguments.steps + 1))
    objective = new_objective(num_items, setting, loss, own_rows=arguments.own_rows)
    objective.prepare(windows)
    device = torch.device("cpu")
    config = TrainingConfig(device="cpu", item_updates=arguments.updates)
    processes = Processes(device=device)
    update = Update(Alone(objective, processes), config, processes)
    tally = Tally(device, Sums())
    watch = _Watch()
    watch.follow(update)
    update.objective.train()
    for batch in batches(windows, BATCH_SIZE, seed=0, epoch=0):
        watch.mark("start")
        update.step([batch], tally, learning_rate=1e-3)
        watch.mark("end")
    return {
        **{f"{name}_s": seconds for name, seconds in watch.medians().items()},
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "steps": arguments.steps,
        "targets": BATCH_SIZE * NUM_TARGETS,
    }


class _Watch:
    """The times at which the parts of a step begin and end."""

    def __init__(self) -> None:
        self._steps: list[dict[str, tuple[float, float]]] = []

    def mark(self, name: str) -> None:
        """Keeps the time of a moment of the current step; `start` begins a step."""
        if name == "start":
            self._steps.append({})
        self._steps[-1].setdefault(name, (time.perf_counter(), time.process_time()))

    def follow(self, update: Update) -> None:
        """Marks the end of the loss and the beginning of the optimizer."""
        update.objective.register_forward_hook(lambda *_: self.mark("loss"))
        register_optimizer_step_pre_hook(lambda *_: self.mark("gradients"))

    def medians(self) -> dict[str, float]:
        """Processor seconds of a whole step and of its parts, and seconds of a whole step.

        Other work of the machine disturbs the processor seconds less. The first step does not
        count: it makes what later steps use again.
        """
        timed = self._steps[1:]

        def median(first: str, last: str, clock: int = 1) -> float:
            return statistics.median(step[last][clock] - step[first][clock] for step in timed)

        return {
            "step_wall": median("start", "end", 0),
            "step": median("start", "end"),
            "forward": median("start", "loss"),
            "backward": median("loss", "gradients"),
            "optimizer": median("gradients", "end"),
        }


def power_law_windows(num_items: int, *, num_windows: int) -> Windows:
    """Makes windows of `NUM_TARGETS` targets and one item before, popular items more often."""
    generator = np.random.default_rng(0)
    size = NUM_TARGETS + 1
    # The inverse of the distribution function of a density in proportion to 1 / (rank + 10).
    drawn = 10 * ((num_items / 10 + 1) ** generator.random(num_windows * size) - 1)
    return Windows(
        items=np.minimum(drawn.astype(np.int64), num_items - 1),
        starts=np.arange(num_windows) * size,
        lengths=np.full(num_windows, size),
        first_target=np.ones(num_windows, dtype=np.int64),
    )


def new_objective(num_items: int, setting: str, loss: str, *, own_rows: bool) -> NextCodeObjective:
    """Makes the objective of the default pipeline, without its head where the setting has none."""
    torch.manual_seed(0)
    semantic_ids = torch.stack([torch.randint(0, k, (num_items,)) for k in CODEBOOK_SIZES], dim=1)
    config = NextCodeConfig.model_validate({**SETTINGS[setting], "item_loss": loss})
    has_head = config.item_weight is not None
    shape = TransformerConfig(
        history="items",
        item_embedding=True,
        item_head=has_head,
        tied_item_head=has_head and not own_rows,
        repeat_bias=has_head,
        dropout=0.3,
    )
    return NextCodeObjective(Transformer(shape, semantic_ids, CODEBOOK_SIZES), config)


if __name__ == "__main__":
    main()
