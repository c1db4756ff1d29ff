"""Reads the log of a training. The writer is in `training`, which `evaluation` cannot import."""

import json
from pathlib import Path
from typing import Any


def log_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL log, in order.

    Raises:
        ValueError: if a line is no JSON object; the message names file and line.
    """
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not valid JSON ({error.msg}).") from error
        if not isinstance(line, dict):
            raise ValueError(f"{path}, line {number}: not a JSON object.")
        lines.append(line)
    return lines
