"""Measures a whole run on a generated shop of many items, from Parquet files to recommendations.

The shop has items in kinds, of which some items are popular, and users who buy from a few kinds.
Its files are those that a shop would export: interactions and titles. Each step is a command of
Sidestep, in a process of its own; a line of JSON tells the time and the peak of the memory of the
step. A step that was done before is not done again, so that a run can be continued.

    python benchmarks/large_shop.py runs/large-shop --items 1e5 --users 2e4
    python benchmarks/large_shop.py runs/large-shop --items 1e6 --users 2e5 --train-seconds 1800

Goal: 10^6 items and 2 x 10^5 users within 8 GB.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from result_line import add_results_option, finish, now, processor

ITEMS_PER_KIND, KINDS_PER_USER = 100, 3
NUM_WORDS, WORDS_PER_KIND, WORDS_PER_ITEM = 5000, 3, 3
CONFIG = """\
kind: transformer
max_history: 20
min_context: 0
model:
  dim: 128
  num_layers: 4
  history: items
  item_embedding: true
  item_head: true
  tied_item_head: true
  repeat_bias: true
  dropout: 0.3
objective:
  item_weight: 1.0
  distillation_weight: 2.0
training:
  epochs: 3
  batch_size: 64
  learning_rate: 0.002
  weight_decay: 0.01
validation:
  num_users: 500
"""


def main() -> None:
    """Generates the shop and runs the commands, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, help="where to write the shop and the results of its commands"
    )
    parser.add_argument("--items", type=_count, default=10**6)
    parser.add_argument("--users", type=_count, default=2 * 10**5)
    parser.add_argument("--train-seconds", type=float, default=1800.0)
    parser.add_argument("--judged-users", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="a setting of the training")
    parser.add_argument("--note", help="note on other work of the machine")
    add_results_option(parser)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if not (asked.folder / "items.parquet").exists():
        write_shop(asked.folder, asked.items, asked.users)
    (asked.folder / "train.yaml").write_text(CONFIG, encoding="utf-8")
    for step, (made, command) in commands(asked).items():
        if made is not None and (asked.folder / made).exists():
            print(f"{step}: done before")
            continue
        result = measured(asked, step, command)
        finish(result, asked.results)
        if result["exit_status"]:
            parser.exit(1, f"{step} failed; {asked.folder / step}.log says why.\n")


def _count(text: str) -> int:
    return int(float(text))


def commands(asked: argparse.Namespace) -> dict[str, tuple[str | None, list[str]]]:
    """The commands by step: what a finished command leaves behind, and its arguments."""
    sizes = ["--codebook-sizes", "256,256,256,256", "--collisions", "extra"]
    settings = [f"training.max_seconds={asked.train_seconds}", *asked.set]
    reading = [*("--items", "items.parquet"), *("--columns", "title")]
    training = [*("--config", "train.yaml"), *("--dataset", "dataset"), *("--catalog", "catalog")]
    # Likelihood alone chooses the first code: the item head scores the items below what is left.
    # There are five codes, the last one of items that collide.
    search = ["--search", "item-beam", "--candidates", "none,200,200,200,200"]
    return {
        "import": (
            "dataset/dataset.json",
            ["import", "table", "interactions.parquet", *reading, "--out", "dataset"],
        ),
        "embed": ("vectors.npy", ["embed", "dataset", "--dim", "64", "--out", "vectors.npy"]),
        "tokenize": (
            "catalog",
            ["tokenize", "dataset", "--vectors", "vectors.npy", *sizes, "--out", "catalog"],
        ),
        "train": (
            "run/bundle",
            ["train", *training, "--out", "run", *(f"--set={one}" for one in settings)],
        ),
        "evaluate": (None, ["evaluate", "run", "--users", str(asked.judged_users), *search]),
        "recommend": (None, ["recommend", "run", "--user", "u0", *search]),
    }


def measured(asked: argparse.Namespace, step: str, command: list[str]) -> dict[str, object]:
    """Runs one command, and returns its time and the peak of its memory."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads)}
    began = time.perf_counter()
    with (asked.folder / f"{step}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sidestep", *command],
            cwd=asked.folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
    return {
        "benchmark": "large_shop",
        "step": step,
        "items": asked.items,
        "users": asked.users,
        "seconds": time.perf_counter() - began,
        "processor_s": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss * 1024 / 1e9,
        "exit_status": os.waitstatus_to_exitcode(status),
        "threads": asked.threads,
        "processor": processor(),
        "time": now(),
        "note": asked.note,
    }


def write_shop(folder: Path, num_items: int, num_users: int) -> None:
    """Writes interactions and titles of a shop as Parquet files."""
    generator = np.random.default_rng(0)
    num_kinds = -(-num_items // ITEMS_PER_KIND)
    # Kinds that share words are alike.
    words = generator.integers(0, NUM_WORDS, (num_kinds, WORDS_PER_KIND))
    kind = np.arange(num_items) % num_kinds
    own = generator.integers(0, NUM_WORDS, (num_items, WORDS_PER_ITEM))
    named = np.column_stack([words[kind], own])
    titles = [" ".join(f"word{word}" for word in row) for row in named.tolist()]
    items = pl.DataFrame({"item_id": _names("i", np.arange(num_items)), "title": titles})
    items.write_parquet(folder / "items.parquet")

    lengths = np.minimum(4 + generator.geometric(1 / 7, num_users), 60)
    user = np.repeat(np.arange(num_users), lengths)
    liked = generator.integers(0, num_kinds, (num_users, KINDS_PER_USER))
    chosen = liked[user, generator.integers(0, KINDS_PER_USER, len(user))]
    # Of a kind, the share of an item falls with its rank.
    rank = (ITEMS_PER_KIND ** generator.random(len(user))).astype(np.int64) - 1
    bought = (chosen + rank * num_kinds) % num_items
    frame = pl.DataFrame(
        {
            "user_id": _names("u", user),
            "item_id": _names("i", bought),
            "timestamp": 1_700_000_000 + np.arange(len(user)) * 60,
        }
    )
    frame.write_parquet(folder / "interactions.parquet")


def _names(letter: str, numbers: np.ndarray) -> pl.Series:
    return pl.Series(numbers).cast(pl.String).str.replace("^", letter)


if __name__ == "__main__":
    main()
