"""Measures the cost of the trie: build time, memory and time of queries, for several catalog sizes.

Semantic IDs are random, which is the worst case for memory: hardly any prefix is shared. Each size
runs in a process of its own, so that its peak of memory is its own. The time of the trie is given
as a share of one decoding step of the network, which is timed in the same run. The last line
printed is one JSON object.

    python benchmarks/trie.py
    python benchmarks/trie.py --sizes 1e4 1e6 --device cuda
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from result_line import processor
from sidestep.catalog.trie import Trie
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.step import ROOT_SLOT, HistoryBatch

USERS, BEAMS = 32, 50
HISTORY = 20
DIM, NUM_LAYERS = 128, 4
BATCHES = 16
"""Number of batches of different states, used in turn, so that no state stays in the cache."""


def main() -> None:
    """Measures every size and prints the result."""
    arguments = parsed()
    if arguments.one_size is not None:
        print(json.dumps(measured(arguments.one_size, arguments)))
        return
    step_times = step_ms(arguments)
    print(f"one decoding step of the network: {median(step_times):.2f} ms", flush=True)
    sizes = []
    for size in arguments.sizes:
        command = [sys.executable, __file__, *sys.argv[1:], "--one-size", str(size)]
        command += ["--step-ms", str(median(step_times))]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        sizes.append(json.loads(answer.splitlines()[-1]))
        print(summary(sizes[-1]), flush=True)
    result = {
        "benchmark": "trie",
        "users": USERS,
        "beams": BEAMS,
        "num_levels": arguments.levels,
        "codebook_size": arguments.codebook_size,
        "repeats": arguments.repeats,
        "threads": arguments.threads,
        "step_ms": median(step_times),
        "step_times_ms": step_times,
        "history": HISTORY,
        "dim": DIM,
        "num_layers": NUM_LAYERS,
        "device": arguments.device,
        "machine": processor(),
        "torch": torch.__version__,
        "sizes": sizes,
    }
    print(json.dumps(result))


def parsed() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes",
        type=lambda text: int(float(text)),
        nargs="+",
        default=[10**4, 10**5, 10**6, 10**7],
        help="numbers of items, such as 1e4 1e7 (default: 1e4 1e5 1e6 1e7)",
    )
    parser.add_argument("--levels", type=int, default=4, help="codes per item (default: 4)")
    parser.add_argument("--codebook-size", type=int, default=256, help="per level (default: 256)")
    parser.add_argument("--repeats", type=int, default=30, help="timed calls each (default: 30)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--device", default="cpu", help="device of the trie (default: cpu)")
    # An option for the processes that the parent process starts.
    parser.add_argument("--one-size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--step-ms", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


@torch.no_grad()
def step_ms(arguments: argparse.Namespace) -> list[float]:
    """Milliseconds in which the network extends all beams of all users by one node each."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sizes = (arguments.codebook_size,) * arguments.levels
    semantic_ids = torch.randint(arguments.codebook_size, (1000, arguments.levels))
    config = TransformerConfig(dim=DIM, num_layers=NUM_LAYERS, dropout=0.0)
    model = Transformer(config, semantic_ids, sizes).eval().to(arguments.device)
    histories = HistoryBatch(
        items=torch.randint(len(semantic_ids), (USERS, HISTORY)),
        lengths=torch.full((USERS,), HISTORY),
    )
    _, context = model.encode(histories.to(arguments.device), capacity=BEAMS)
    shape = (USERS, BEAMS)
    parents = torch.full(shape, ROOT_SLOT, device=arguments.device)
    is_node = torch.ones(shape, dtype=torch.bool, device=arguments.device)

    def step(codes: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
        # The same context each time, so that its slots are used again.
        return model.extend(context, codes, parents, depths, is_node=is_node)[0].logits

    codes = torch.randint(arguments.codebook_size, (BATCHES, *shape), device=arguments.device)
    batches = [(some, torch.ones_like(some)) for some in codes]
    return timed(step, batches, arguments.repeats)


def measured(num_items: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures all figures of one catalog size."""
    torch.set_num_threads(arguments.threads)
    generator = np.random.default_rng(0)
    shape = (num_items, arguments.levels)
    semantic_ids = generator.integers(0, arguments.codebook_size, shape, dtype=np.int32)
    before_bytes = peak_bytes()
    start = time.perf_counter()
    trie = Trie.build(semantic_ids, (arguments.codebook_size,) * arguments.levels)
    build_s = time.perf_counter() - start
    after_bytes = peak_bytes()
    trie = trie.to(arguments.device)
    available = trie.availability(torch.from_numpy(generator.random(num_items) < 0.5))
    depths = []
    for depth in range(arguments.levels):
        nodes = trie.nodes_at(depth)
        states = torch.from_numpy(
            generator.integers(nodes.start, nodes.stop, (BATCHES, USERS, BEAMS))
        )
        codes = generator.integers(0, arguments.codebook_size, (BATCHES, USERS, BEAMS))
        batches = list(
            zip(states.to(trie.device), torch.from_numpy(codes).to(trie.device), strict=True)
        )
        depths.append(
            {
                "depth": depth,
                "num_nodes": len(nodes),
                "legal_ms": timed(lambda s, _: trie.legal(s), batches, arguments.repeats),
                "available_legal_ms": timed(
                    lambda s, _: trie.legal(s, available), batches, arguments.repeats
                ),
                "child_ms": timed(trie.child, batches, arguments.repeats),
            }
        )
    trie_ms = [median(depth["legal_ms"]) + median(depth["child_ms"]) for depth in depths]
    return {
        "num_items": num_items,
        "num_leaves": trie.num_leaves,
        "build_s": round(build_s, 3),
        "bytes_per_item": round(trie.memory_bytes / num_items, 2),
        "peak_before_build_mb": round(before_bytes / 1e6, 1),
        "peak_after_build_mb": round(after_bytes / 1e6, 1),
        "legal_and_child_ms": [round(ms, 4) for ms in trie_ms],
        "mean_share_of_step": round(statistics.mean(trie_ms) / arguments.step_ms, 5),
        "max_share_of_step": round(max(trie_ms) / arguments.step_ms, 5),
        "depths": depths,
    }


def timed(
    call: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    batches: list[tuple[torch.Tensor, torch.Tensor]],
    repeats: int,
) -> list[float]:
    """Milliseconds of each call after a warm-up over other states."""
    is_gpu = batches[0][0].is_cuda
    times = []
    for turn in range(repeats + 5):
        states, codes = batches[turn % len(batches)]
        start = time.perf_counter()
        call(states, codes)
        if is_gpu:
            torch.cuda.synchronize()
        times.append(round(1e3 * (time.perf_counter() - start), 4))
    return times[5:]


def median(times: list[float]) -> float:
    """Median of the raw times."""
    return statistics.median(times)


def peak_bytes() -> int:
    """Largest memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def summary(size: dict[str, Any]) -> str:
    """Line of text on one size."""
    return (
        f"{size['num_items']:>11,} items: built in {size['build_s']:.2f} s, "
        f"{size['bytes_per_item']:.1f} bytes per item, peak {size['peak_after_build_mb']:.0f} MB, "
        f"legal + child by depth {size['legal_and_child_ms']} ms "
        f"({100 * size['mean_share_of_step']:.2f}% of a step)"
    )


if __name__ == "__main__":
    main()
