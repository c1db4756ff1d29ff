"""The settings and the origin of measured search budgets, for the page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.environment import command_line, machine
from sidestep.runs.kept_evaluations import kept_beside
from sidestep.version import __version__

with imported_when_used():
    from sidestep.evaluation import results


def facts_of(files: Sequence[Path], first: results.PerUser, rows: str) -> dict[str, str]:
    """The settings and the origin of points, for their page.

    Args:
        files: the per-user file of each point.
        first: the contents of the first file.
        rows: how many rows there are, in words.
    """
    made = [kept_beside(file) for file in files]
    return {
        "Dataset": first.dataset,
        "Rows": f"{first.split}, {rows}",
        "Items of the history": "left out" if first.setting.exclude_seen else "may be listed",
        "Semantic IDs": str(first.setting.codes),
        "Users at once": "; ".join(dict.fromkeys(str(kept["batch_size"]) for kept in made)),
        "Evaluated at commit": "; ".join(dict.fromkeys(str(kept["commit"]) for kept in made)),
        "Evaluated on": machine(),
        "Page by": command_line(),
        "Version": f"sidestep {__version__}",
    }
