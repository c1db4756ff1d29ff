"""Kept evaluations of runs that were trained in different ways, told apart by names of their own.

A comparison takes runs of equal method and setting for seeds of one method. The setting describes
the search, and not the training. So two trainings with other settings would become one row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sidestep.evaluation.results import PerUser, method_part
from sidestep.runs.config import common_settings, read_settings, with_paths
from sidestep.runs.folder import RunFolder

_SEED = re.compile(r"[-_]?[0-9]+$")
"""The end of a folder's name that tells the seed of a run."""

Found = tuple[Path, PerUser]
"""A per-user file, and what it holds."""


def told_apart(found: Sequence[Found]) -> list[Found]:
    """Evaluations whose method names the run, where equal methods were trained in different ways.

    Two trainings are alike if their configurations differ in nothing but the seed, the number of
    steps between checkpoints and the like, and the runs of other seeds that they go on from. Of a
    file that lies in no run, nothing is known; it stays as it is.

    Args:
        found: per-user files, in the folders of their runs or elsewhere.

    Returns:
        The same evaluations in the same order, some with `method-NAME` as their method. NAME is the
        name of the run's folder, without a number at its end.
    """
    trained = [_trained_as(file) for file, _ in found]
    keys = [(run.method, run.setting) for _, run in found]
    apart = []
    for (file, run), key, own in zip(found, keys, trained, strict=True):
        alike = {other for other, its in zip(trained, keys, strict=True) if its == key and other}
        if own is not None and len(alike) > 1:
            others = {
                _SEED.sub("", _run_of(other).name)
                for (other, _), its, theirs in zip(found, keys, trained, strict=True)
                if its == key and theirs not in (None, own)
            }
            base, plus, ranker = run.method.partition("+")
            run = replace(run, method=f"{base}-{_name_of(file, others)}{plus}{ranker}")
        apart.append((file, run))
    return apart


def _name_of(file: Path, others: set[str]) -> str:
    """A name for the run of a file; with that of the folder around it, if others have its name."""
    folder = _run_of(file)
    name = _SEED.sub("", folder.name)
    name = f"{folder.parent.name}-{name}" if name in others else name
    return method_part(name) or "run"


def _run_of(file: Path) -> Path:
    """The folder of the run that a kept evaluation belongs to."""
    return file.absolute().parents[2]


def _trained_as(file: Path) -> str | None:
    """A text that is equal for trainings that differ in their seeds alone; None if not known."""
    folder = RunFolder(_run_of(file))
    if not folder.is_run() or not folder.config.is_file():
        return None
    shared = common_settings(read_settings(folder.config), seed=0)["config"]
    info = folder.info()
    known: dict[str, Any] = {
        "config": with_paths(shared, _without_seed),
        "catalog": None if info.catalog is None else Path(info.catalog).name,
        "ranker": None if info.ranker is None else _without_seed(info.ranker),
    }
    return json.dumps(known, sort_keys=True, default=str)


def _without_seed(path: str) -> str:
    """The name at the end of a path, without the number of a seed."""
    place = Path(path)
    name = place.parent.name if place.name == "bundle" else place.name
    return _SEED.sub("", name)
