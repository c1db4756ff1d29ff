"""Measures time and memory, by step, of giving every item of a large catalog a semantic ID.

Vectors are random around cluster centres, which are random around fewer centres, so that every
level finds clusters. The fit, the resolution of collisions, and the encoding by a saved copy are
timed. With `reassign`, the items that got another last code are counted too.

    python benchmarks/tokenizing.py --items 1e6
    python benchmarks/tokenizing.py --items 1e6 --method balanced --note "beside other work"

The last line printed is one JSON object. Goal: 10^6 items and 4 x 1024 codes in under 20
minutes and 8 GB on two cores.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from result_line import processor
from sidestep.tokenizer.collisions import num_distinct, resolve_collisions
from sidestep.tokenizer.methods import (
    DEFAULT_METHOD,
    METHODS,
    config_class,
    kind_of,
    load_fitted,
    make_tokenizer,
)
from sidestep.tokenizer.quality import FitQuality
from sidestep.tokenizer.vectors import advice

NUM_CLUSTERS, NUM_GROUPS = 20_000, 200


def main() -> None:
    """Measures one method and prints the result."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        result = measured(arguments)
    print(json.dumps(result))


def parsed() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=lambda text: int(float(text)), default=10**6)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--codebook-size", type=int, default=1024)
    parser.add_argument("--method", choices=list(METHODS), default=DEFAULT_METHOD)
    parser.add_argument("--collisions", choices=["reassign", "extra", "none"], default="reassign")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--note", help="note on other work of the machine")
    return parser.parse_args()


def clustered_vectors(num_items: int, dim: int) -> np.ndarray:
    """Makes float32 vectors of items in clusters, which are in groups."""
    generator = np.random.default_rng(0)
    groups = generator.normal(size=(NUM_GROUPS, dim)).astype(np.float32)
    clusters = groups[generator.integers(0, NUM_GROUPS, NUM_CLUSTERS)]
    clusters += generator.normal(0, 0.5, clusters.shape)
    vectors = clusters[generator.integers(0, NUM_CLUSTERS, num_items)]
    vectors += generator.standard_normal(vectors.shape, dtype=np.float32) * np.float32(0.2)
    return vectors


def measured(arguments: argparse.Namespace) -> dict[str, object]:
    """Measures all figures of one run."""
    vectors = clustered_vectors(arguments.items, arguments.dim)
    sizes = (arguments.codebook_size,) * arguments.levels
    method = arguments.method
    tokenizer = make_tokenizer(method, config_class(method)(codebook_sizes=sizes))
    marks = [time.perf_counter()]
    advice(vectors, sizes, must_be_distinct=arguments.collisions == "reassign")
    marks.append(time.perf_counter())
    fit = tokenizer.fit(vectors, seed=0, report=lambda *done: print(*done, flush=True))
    marks.append(time.perf_counter())
    resolved = resolve_collisions(fit, vectors, policy=arguments.collisions)
    marks.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.safetensors"
        fit.tokenizer.save(path)
        encoded = load_fitted(kind_of(fit.tokenizer), path).encode(vectors)
    marks.append(time.perf_counter())
    cpu_s = time.process_time()
    seconds = dict(
        zip(("check_s", "fit_s", "collisions_s", "encode_s"), np.diff(marks).round(2), strict=True)
    )
    quality = FitQuality.of(fit, vectors)
    last = arguments.levels - 1
    moved = (resolved.semantic_ids[:, last] != fit.semantic_ids[:, last]).mean()
    return {
        "benchmark": "tokenizing",
        "method": method,
        "items": arguments.items,
        "dim": arguments.dim,
        "codebook_sizes": list(sizes),
        "collisions": arguments.collisions,
        "total_s": round(marks[-1] - marks[0], 1),
        **seconds,
        # Processor time of all threads from the start, with the time of making the vectors. If the
        # machine does other work, it tells more than the clock.
        "cpu_s": round(cpu_s, 1),
        # The largest memory that the process has held, with the vectors.
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
        "distinct_before": quality.num_distinct,
        "distinct": num_distinct(resolved.semantic_ids),
        "share_moved": round(float(moved), 5),
        "share_encoded_alike": round(float((encoded == fit.semantic_ids).all(axis=1).mean()), 5),
        "resolved_sizes": list(resolved.codebook_sizes),
        **quality.as_json(),
        "threads": arguments.threads,
        "machine": processor(),
        "note": arguments.note,
    }


if __name__ == "__main__":
    main()
