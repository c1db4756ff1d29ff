"""Measures the space of code sets beside the trie of the same codes, for several catalog sizes.

Codes are random. 32 users with 50 beams each walk from the root to items, one code of an open
codebook at a time; every beam takes the codebooks in an order of its own. The times are those of
the two questions of a step, `legal` and `child`. `cold` asks without the candidates that earlier
steps have left. Building, and everything else with one thread on a CPU, is timed in seconds of the
processor, because such times hardly depend on other work of the machine. Each size runs in a
process of its own, so that each size has a peak of memory of its own. The last line printed is one
JSON object.

    python benchmarks/parallel_codes.py
    python benchmarks/parallel_codes.py --sizes 1e4 1e5 --codebooks 12 --codebook-size 64
    python benchmarks/parallel_codes.py --sizes 1e6 --device cuda
    python benchmarks/parallel_codes.py --results benchmarks/results/parallel_codes.jsonl
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from result_line import add_results_option, finish, now, processor
from sidestep.catalog.set_candidates import LatestCandidates
from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE, Trie

USERS, BEAMS = 32, 50
EXCLUDED = 20
"""Items that each user must not get, in the rows of `excluding`."""


def main() -> None:
    """Measures every size and prints the result."""
    arguments = parsed()
    if arguments.one_size is not None:
        print(json.dumps(measured(arguments.one_size, arguments)))
        return
    sizes = []
    for size in arguments.sizes:
        command = [sys.executable, __file__, *sys.argv[1:], "--one-size", str(size)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        sizes.append(json.loads(answer.splitlines()[-1]))
        print(summary(sizes[-1]), flush=True)
    result = {
        "benchmark": "parallel_codes",
        "users": USERS,
        "beams": BEAMS,
        "codebooks": arguments.codebooks,
        "codebook_size": arguments.codebook_size,
        "excluded": EXCLUDED,
        "repeats": arguments.repeats,
        "threads": arguments.threads,
        "device": arguments.device,
        "machine": processor(),
        "torch": torch.__version__,
        "date": now(),
        "command": f"python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip(),
        "sizes": sizes,
    }
    finish(result, arguments.results)


def parsed() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes",
        type=lambda text: int(float(text)),
        nargs="+",
        default=[10**4, 10**5, 10**6],
        help="numbers of items, such as 1e4 1e7 (default: 1e4 1e5 1e6)",
    )
    parser.add_argument("--codebooks", type=int, default=8, help="codes per item (default: 8)")
    parser.add_argument("--codebook-size", type=int, default=256, help="default: 256")
    parser.add_argument("--repeats", type=int, default=9, help="timed walks (default: 9)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--device", default="cpu", help="device of the space (default: cpu)")
    add_results_option(parser)
    # An option for the processes that the parent process starts.
    parser.add_argument("--one-size", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(num_items: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures all figures of one catalog size."""
    torch.set_num_threads(arguments.threads)
    generator = np.random.default_rng(0)
    shape, device = (num_items, arguments.codebooks), arguments.device
    sizes = (arguments.codebook_size,) * arguments.codebooks
    codes = generator.integers(0, arguments.codebook_size, shape, dtype=np.int32)
    before_bytes = peak_bytes()
    start = time.process_time()
    space = SetSpace.of_codes(torch.from_numpy(codes).to(device), sizes)
    build_s = time.process_time() - start
    after_bytes = peak_bytes()
    start = time.process_time()
    trie = Trie.build(codes, sizes).to(device)
    trie_build_s = time.process_time() - start
    is_available = torch.from_numpy(generator.random(num_items) < 0.5).to(device)
    start = time.process_time()
    in_stock = space.among(is_available)
    among_s = time.process_time() - start
    excluded = torch.from_numpy(generator.integers(0, num_items, (USERS, EXCLUDED))).to(device)
    walks = [drawn(space, codes, generator) for _ in range(arguments.repeats + 1)]
    return {
        "num_items": num_items,
        "build_s": round(build_s, 3),
        "bytes_per_item": round(space.memory_bytes / num_items, 1),
        "has_pairs": space.lists.first_pair is not None,
        "peak_before_build_mb": round(before_bytes / 1e6, 1),
        "peak_after_build_mb": round(after_bytes / 1e6, 1),
        "among_s": round(among_s, 3),
        "trie_build_s": round(trie_build_s, 3),
        "trie_bytes_per_item": round(trie.memory_bytes / num_items, 1),
        "sets": times_of(space, walks),
        "cold": times_of(space, walks, is_cold=True),
        "in_stock": times_of(in_stock, walks),
        "excluding": times_of(space.without(excluded), walks),
        "trie": times_of_trie(trie, walks),
    }


Walk = list[tuple[torch.Tensor, torch.Tensor]]


def drawn(space: SetSpace, codes: np.ndarray, generator: np.random.Generator) -> Walk:
    """The items of all beams, and the codebooks in the order of each beam, as one walk of actions.

    The states of a step are those that the actions before have led to.
    """
    items = generator.integers(0, len(codes), (USERS, BEAMS))
    num_codebooks = codes.shape[1]
    orders = generator.permuted(
        np.broadcast_to(np.arange(num_codebooks), (USERS, BEAMS, num_codebooks)), axis=2
    )
    firsts = np.array(space.lists.first_actions())
    walk = []
    for step in range(num_codebooks):
        books = orders[..., step]
        actions = torch.from_numpy(codes[items, books] + firsts[books]).to(space.device)
        walk.append((torch.from_numpy(items).to(space.device), actions))
    return walk


def times_of(space: SetSpace, walks: list[Walk], *, is_cold: bool = False) -> list[dict[str, Any]]:
    """Milliseconds of `legal` and `child` at each depth, in every walk but the first."""
    depths: list[dict[str, Any]] = [{"legal_ms": [], "child_ms": []} for _ in walks[0]]
    for walk in walks:
        states = space.root(USERS)
        for depth, (_, actions) in enumerate(walk):
            asked = replace(space, _latest=LatestCandidates()) if is_cold else space
            depths[depth]["legal_ms"].append(timed(asked.legal, states))
            if is_cold:
                asked = replace(space, _latest=LatestCandidates())
            states = states.expand(actions.shape)
            depths[depth]["child_ms"].append(timed(asked.child, states, actions))
            states = space.child(states, actions)
            assert bool((states != NO_STATE).all())
    return [{name: times[1:] for name, times in depth.items()} for depth in depths]


def times_of_trie(trie: Trie, walks: list[Walk]) -> list[dict[str, Any]]:
    """See `times_of`: the same items, by their prefixes."""
    depths: list[dict[str, Any]] = [{"legal_ms": [], "child_ms": []} for _ in walks[0]]
    for walk in walks:
        paths = trie.path(trie.leaf_of(walk[0][0]))
        states = torch.zeros(USERS, 1, dtype=torch.long, device=trie.device)
        for depth in range(len(walk)):
            depths[depth]["legal_ms"].append(timed(partial(trie.legal, depth=depth), states))
            actions = paths[..., depth]
            states = states.expand(actions.shape)
            depths[depth]["child_ms"].append(
                timed(partial(trie.child, depth=depth), states, actions)
            )
            states = trie.child(states, actions, depth=depth)
    return [{name: times[1:] for name, times in depth.items()} for depth in depths]


def timed(call: Callable[..., torch.Tensor], *asked: torch.Tensor) -> float:
    """Milliseconds of one call, the transfer of the answer left out; see the head of the file."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start, start_wall = clock(), time.perf_counter()
    if call(*asked).is_cuda:
        torch.cuda.synchronize()
        return round(1e3 * (time.perf_counter() - start_wall), 3)
    return round(1e3 * (clock() - start), 3)


def peak_bytes() -> int:
    """Largest memory that this process has held so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def medians(depths: list[dict[str, Any]]) -> str:
    """The median time of a step by depth."""
    steps = [
        statistics.median(map(sum, zip(depth["legal_ms"], depth["child_ms"], strict=True)))
        for depth in depths
    ]
    return " ".join(f"{step:.1f}" for step in steps)


def summary(size: dict[str, Any]) -> str:
    """Lines of text on one size."""
    lines = [
        f"{size['num_items']:>11,} items: built in {size['build_s']:.2f} s, "
        f"{size['bytes_per_item']:.0f} bytes per item, peak {size['peak_after_build_mb']:.0f} MB, "
        f"stock counted in {size['among_s']:.2f} s; trie: {size['trie_build_s']:.2f} s, "
        f"{size['trie_bytes_per_item']:.0f} bytes per item; legal + child by depth, ms:"
    ]
    for name in ("sets", "cold", "in_stock", "excluding", "trie"):
        lines.append(f"    {name:<10} {medians(size[name])}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
