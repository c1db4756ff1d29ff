"""Measures the import of a large review dump: its peak of memory, and reviews per second.

A dump in the form of Amazon 2018 is generated in a temporary folder, as large and as skewed as
Electronics. There are a fifth as many users as reviews; users are drawn from heavy tails, and many
have one review. Reviews are ordered by item. Then `sidestep import amazon` reads the gzipped dump
and the metadata of its items in a process of its own, and writes the dataset. The last line printed
is one JSON object, which is also appended to --results.

    python benchmarks/importing.py
    python benchmarks/importing.py --rows 1e6 --k-core 5
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from result_line import add_results_option, finish, now, processor

ROWS_AT_ONCE = 500_000
WORDS = ["this", "product", "works", "great", "and", "loves", "it", "quality &amp; price", "again"]
ALPHABET = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
DAY = 86_400


def main() -> None:
    """Generates, imports and prints the result."""
    arguments = parsed()
    if arguments.generate is not None:
        generate(arguments.generate, arguments.rows)
        return
    if arguments.measure is not None:
        print(json.dumps(measured(arguments.measure, arguments.k_core)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        start = time.perf_counter()
        started("--generate", folder)
        print(f"generated in {time.perf_counter() - start:.0f} s", flush=True)
        sizes = {path.stem.split(".")[0]: path.stat().st_size for path in folder.iterdir()}
        answer = started("--measure", folder)
    result = {
        "benchmark": "importing",
        **json.loads(answer.splitlines()[-1]),
        "k_core": arguments.k_core,
        "reviews_gz_bytes": sizes["reviews"],
        "metadata_gz_bytes": sizes["metadata"],
        "load_before": round(os.getloadavg()[0], 2),
        "machine": processor(),
        "polars": pl.__version__,
        "date": now(),
    }
    finish(result, arguments.results)


def parsed() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows",
        type=lambda text: int(float(text)),
        default=20_000_000,
        help="reviews to generate, such as 1e6 (default: 2e7)",
    )
    parser.add_argument("--k-core", type=int, help="as in `sidestep import` (default: keep all)")
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder")
    add_results_option(parser)
    # An option for the processes that this process starts.
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def started(part: str, folder: Path) -> str:
    """Runs a part in a process of its own, so that its peak of memory is its own."""
    command = [sys.executable, __file__, *sys.argv[1:], part, str(folder)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measured(folder: Path, k_core: int | None) -> dict[str, Any]:
    """Imports the dump with the command, and measures memory and time."""
    from sidestep.cli.main import app

    arguments = ["import", "amazon", str(folder / "reviews.json.gz"), "--json"]
    arguments += ["--meta", str(folder / "metadata.json.gz"), "--out", str(folder / "dataset")]
    arguments += [] if k_core is None else ["--k-core", str(k_core)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, start_cpu = time.perf_counter(), time.process_time()
    app(arguments, standalone_mode=False)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    description = json.loads((folder / "dataset" / "dataset.json").read_text())
    num_rows = int((folder / "num_rows").read_text())
    return {
        "num_rows": num_rows,
        "rows_per_s": round(num_rows / seconds),
        "rows_per_cpu_s": round(num_rows / cpu_seconds),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3),
        "peak_before_gb": round(before * 1024 / 1e9, 3),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "stats": description["stats"],
    }


def generate(folder: Path, num_rows: int) -> None:
    """Writes reviews.json.gz, metadata.json.gz and num_rows."""
    generator = np.random.default_rng(0)
    num_users, num_items = max(2, num_rows // 2), max(2, num_rows // 26)
    items = np.sort((num_items * generator.random(num_rows) ** 3).astype(np.int64))
    texts = pl.Series(
        [" ".join(generator.choice(WORDS, generator.integers(5, 60))) for _ in range(4096)]
    )
    with gzip.open(folder / "reviews.json.gz", "wb", compresslevel=1) as file:
        for start in range(0, num_rows, ROWS_AT_ONCE):
            chunk = items[start : start + ROWS_AT_ONCE]
            users = (num_users * generator.random(len(chunk)) ** 2).astype(np.int64)
            days = 11_000 + (6_800 * generator.random(len(chunk)) ** 0.4).astype(np.int64)
            frame = pl.DataFrame(
                {
                    "overall": generator.integers(1, 6, len(chunk)).astype(np.float64),
                    "verified": generator.random(len(chunk)) < 0.9,
                    "reviewTime": pl.from_epoch(pl.Series(days), "d").dt.strftime("%m %d, %Y"),
                    "reviewerID": ids("A", users, 13),
                    "asin": ids("B", chunk, 9),
                    "style": pl.repeat({"Format:": " Hardcover"}, len(chunk), eager=True),
                    "reviewerName": "A Customer",
                    "reviewText": texts.gather(generator.integers(0, len(texts), len(chunk))),
                    "summary": "Five Stars",
                    "unixReviewTime": days * DAY,
                }
            )
            file.write(frame.write_ndjson().encode())
    with gzip.open(folder / "metadata.json.gz", "wb", compresslevel=1) as file:
        for start in range(0, num_items, ROWS_AT_ONCE):
            numbers = np.arange(start, min(num_items, start + ROWS_AT_ONCE))
            text = texts.gather(generator.integers(0, len(texts), len(numbers)))
            frame = pl.DataFrame(
                {
                    "category": pl.repeat(
                        ["Electronics", "Cables &amp; Adapters"], len(text), eager=True
                    ),
                    "description": text.to_frame("text").select(pl.concat_list("text", "text"))[
                        "text"
                    ],
                    "title": text.str.slice(0, 60),
                    "brand": "Visit the store",
                    "also_buy": pl.repeat(["B000000001"] * 8, len(text), eager=True),
                    "asin": ids("B", numbers, 9),
                }
            )
            file.write(frame.write_ndjson().encode())
    (folder / "num_rows").write_text(str(num_rows))


def ids(start: str, numbers: np.ndarray, width: int) -> pl.Series:
    """Makes IDs like those of shops: a letter, then digits and letters that look random."""
    size = len(ALPHABET) ** (width - 1)
    mixed = numbers * 1_000_003 * 7919 % size  # a permutation: both factors are prime to 36
    digits = np.empty((len(numbers), width + 1), dtype=np.uint8)
    digits[:, 0] = ord(start)
    for place in range(width, 0, -1):
        digits[:, place] = ALPHABET[mixed % len(ALPHABET)]
        mixed //= len(ALPHABET)
    return pl.Series(digits.view(f"S{width + 1}")[:, 0].astype(str))


if __name__ == "__main__":
    main()
