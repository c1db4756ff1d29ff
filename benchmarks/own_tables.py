"""Times the path of a user: from two CSVs to recommendations in words, with two commands.

An LC-Rec data set is exported as a shop would export it: interactions.csv with user, item and time
(here the place in the user's history), and items.csv with the texts. Then 'sidestep new' and
'sidestep run' are called on these files as a user would call them, each in a process of its own.
The last line printed is one JSON object with wall and processor time, which is also appended to
--results.

    python benchmarks/own_tables.py DATA/scientific
    python benchmarks/own_tables.py DATA/scientific --folder shop
"""

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from result_line import add_results_option, finish, now
from sidestep.data.importers.lcrec import lcrec_files

COLUMNS = ["title", "brand", "categories", "description"]
SIDESTEP = [sys.executable, "-c", "from sidestep.cli.entry import main; main()"]


def main() -> None:
    """Exports, runs and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="The folder of an LC-Rec data set with item texts.")
    parser.add_argument(
        "--folder", type=Path, help="Folder that keeps all files; default: a temporary one."
    )
    add_results_option(parser)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = measured(asked.data, asked.folder or Path(name))
    finish(result, asked.results)


def measured(data: Path, folder: Path) -> dict[str, Any]:
    """Measures the cost of the two commands on the tables of a data set."""
    tables = exported(data, folder)
    shop = folder / "shop"
    load = os.getloadavg()[0]
    new = timed("new", shop, "--interactions", tables[0], "--items", tables[1])
    run = timed("run", shop)
    return {
        "benchmark": "own_tables",
        "dataset": data.name,
        "new": new,
        "run": run,
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.processor() or platform.machine(),
        "date": now(),
    }


def exported(data: Path, folder: Path) -> tuple[Path, Path]:
    """Writes interactions.csv and items.csv; returns their paths."""
    interactions, items = lcrec_files(data)
    if items is None or not items.name.endswith(".item.json"):
        raise SystemExit(f"{data}: there is no *.item.json in it.")
    folder.mkdir(parents=True, exist_ok=True)
    events, products = folder / "interactions.csv", folder / "items.csv"
    with events.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "time"])
        for user, bought in json.loads(interactions.read_text(encoding="utf-8")).items():
            writer.writerows([user, item, place] for place, item in enumerate(bought))
    with products.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *COLUMNS])
        for item, texts in json.loads(items.read_text(encoding="utf-8")).items():
            writer.writerow([item, *(texts.get(column, "") for column in COLUMNS)])
    return events, products


def timed(*arguments: object) -> dict[str, float]:
    """Runs a command of the command line. Returns its wall and processor time in seconds."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*SIDESTEP, *map(str, arguments)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(time.perf_counter() - start, 1), "cpu_s": round(cpu, 1)}


if __name__ == "__main__":
    main()
