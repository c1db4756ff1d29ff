"""Imports thousands of odd and broken inputs: no crash, no half-written file, no silent misreading.

A broken input is a valid file of an importer, or a configuration, with one to three changes:
flipped bytes, a cut end, doubled lines, values of other types, fields of 140,000 characters, other
encodings, damaged gzip. The input must be imported, or be refused with a message that names its
file. The first input for which neither is true is printed with its seed and ends the run.

An odd input is a table as programs write it: with separators, quotes, line ends, gaps, times of any
unit and precision, IDs that became decimals, parts in a folder, or JSON whose keys come late. The
content of the table is known. So the import must give exactly this content, and `sidestep new` must
count the same. An input that gives other content is printed with its seed and counted as misread.

Lists and rows as other systems write them must be read as the sequences from which they were
written. The last line printed is one JSON object, which is also appended to --results. The same
checks run in the test suite, on fewer inputs.

    python benchmarks/robustness.py --inputs 10000
"""

import argparse
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from result_line import add_results_option, finish, now

sys.path.insert(0, str(Path(__file__).parents[1]))

from sidestep.runs.config import read_config
from tests.data.importers.broken_files import check_broken
from tests.data.importers.formats import FORMATS
from tests.data.importers.list_files import LIST_CHECKS
from tests.data.importers.odd_tables import MisreadingError, check_odd
from tests.runs.broken_configs import broken_config

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))

ODD_TABLES = "odd tables"
"""The family of half of the inputs."""

Check = Callable[[Path, int], str | None]
"""Makes an input in a folder from a seed, and checks it. Returns the message of the refusal; None
if the input was legal."""


def main() -> None:
    """Checks every family in turn and prints the result."""
    arguments = parsed()
    families = families_of_inputs()
    done: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    misread: Counter[str] = Counter()
    names = [*families, *[ODD_TABLES] * (len(families) - 1)]
    for index in range(arguments.inputs):
        family = names[index % len(names)]
        seed = arguments.seed + index
        with tempfile.TemporaryDirectory() as folder:
            message = None
            try:
                message = families[family](Path(folder), seed)
            except MisreadingError as error:
                misread[family] += 1
                print(f"{family}, seed {seed}: {error}", flush=True)
            except Exception:
                traceback.print_exc(limit=-6)
                sys.exit(f"{family}, seed {seed}: neither legal nor refused by name")
        done[family] += 1
        refused[family] += message is not None
        if (index + 1) % 500 == 0:
            print(f"{index + 1} inputs, {refused.total()} refused", flush=True)
    result = {
        "benchmark": "robustness",
        "inputs": done.total(),
        "refused": refused.total(),
        "crashed": 0,
        "misread": misread.total(),
        "seed": arguments.seed,
        "families": {name: [done[name], refused[name]] for name in done},
        "date": now(),
    }
    finish(result, arguments.results)
    if misread:
        sys.exit(f"{misread.total()} inputs were misread without a message")


def parsed() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="(default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first input (default: 0)")
    add_results_option(parser)
    return parser.parse_args()


def families_of_inputs() -> dict[str, Check]:
    """Checks by family: one per importer, one per example of a configuration, and odd inputs."""
    families: dict[str, Check] = {source.name: partial(check_broken, source) for source in FORMATS}
    families |= LIST_CHECKS
    families[ODD_TABLES] = check_odd
    for path in CONFIGS:
        families[f"config {path.stem}"] = partial(check_broken_config, path)
    return families


def check_broken_config(example: Path, folder: Path, seed: int) -> str | None:
    """Checks that a configuration is read, or refused with its name. Reading writes nothing."""
    file = folder / "config.yaml"
    file.write_bytes(broken_config(example.read_text(), random.Random(seed)))
    message = None
    try:
        read_config(file, ())
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
    assert message is None or message.startswith(str(file)), message
    assert list(folder.iterdir()) == [file]
    return message


if __name__ == "__main__":
    main()
