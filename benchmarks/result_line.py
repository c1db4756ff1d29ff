"""Result of a benchmark: one JSON object, printed as the last line and added to a results file."""

import argparse
import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def add_results_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that names the file to which `finish` appends."""
    parser.add_argument("--results", type=Path, help="a file of results to append to")


def finish(result: Mapping[str, Any], results: Path | None) -> None:
    """Prints the result, and appends it to a file if there is one."""
    line = json.dumps(result)
    if results is not None:
        with results.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    print(line)


def now() -> str:
    """The current time, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def processor() -> str:
    """Name of the processor and number of its cores, even of cores that this process cannot use."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
