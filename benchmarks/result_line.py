"""A benchmark's result: one JSON object, the last line printed and a line of a results file."""

import argparse
import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def add_results_option(parser: argparse.ArgumentParser) -> None:
    """Lets the command line name the file that `finish` appends to."""
    parser.add_argument("--results", type=Path, help="a file of results to append to")


def finish(result: Mapping[str, Any], results: Path | None) -> None:
    """Prints the result, and appends it to a file if there is one."""
    line = json.dumps(result)
    if results is not None:
        with results.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    print(line)


def now() -> str:
    """When, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def processor() -> str:
    """The processor and its cores, whether or not this process may use all of them."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
