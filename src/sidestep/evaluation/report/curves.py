"""Curves: metrics against the length of the list, the depth of the search, the epoch of training.

A method's curve is the mean over its seeds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.results import PerUser
from sidestep.evaluation.training_log import log_lines
from sidestep.metrics.ties import hit_rate, ndcg

ALL_EVALUATED = ", all evaluated"
"""Suffix of the label of a curve over all prefixes that a search looked at."""

Metric = Callable[
    [Int[np.ndarray, " users"], Int[np.ndarray, " users"], int], Float[np.ndarray, " users"]
]


def length_charts(runs: Mapping[str, Sequence[PerUser]]) -> list[Chart]:
    """HR@K and NDCG@K against K, per label."""
    return [
        _by_length(
            runs,
            hit_rate,
            "HR@K",
            title="Hit rate by length of the list",
            caption="Share of users whose next item is among the first K.",
        ),
        _by_length(
            runs,
            ndcg,
            "NDCG@K",
            title="NDCG by length of the list",
            caption="Like the hit rate, but a hit counts less if it is lower in the list.",
        ),
    ]


def prefix_recall_chart(metrics: Mapping[str, Sequence[Mapping[str, float]]]) -> Chart | None:
    """HRecall against depth, per label, from each seed's metrics; None if no label has it."""
    curves: list[Curve] = []
    evaluated: list[Curve] = []
    for label, seeds in metrics.items():
        if not seeds:
            continue
        among = dict.fromkeys(
            found[1] for name in seeds[0] if (found := re.fullmatch(r"HRecall@1@(\w+)", name))
        )
        for kind in among:
            names = [name for name in seeds[0] if re.fullmatch(rf"HRecall@\d+@{kind}", name)]
            by_depth = {
                float(name.split("@")[1]): fmean(seed[name] for seed in seeds) for name in names
            }
            depths = tuple(sorted(by_depth))
            curve = Curve(
                label=f"{label}{ALL_EVALUATED}" if kind == "evaluated" else label,
                x=depths,
                y=tuple(by_depth[depth] for depth in depths),
            )
            (evaluated if kind == "evaluated" else curves).append(curve)
    if not curves:
        return None
    return Chart(
        title="Where the search loses the target",
        caption="Share of users whose target's first codes are among the leaves found, by depth; "
        "“all evaluated”: among all prefixes that the search looked at.",
        x_label="depth (codes)",
        y_label="HRecall",
        curves=(*curves, *evaluated),
        from_zero=True,
    )


def training_chart(
    logs: Mapping[str, Sequence[Path]], *, y: str, title: str, caption: str, y_label: str
) -> Chart | None:
    """Draws one field of JSONL training logs against the epoch, per label.

    Args:
        logs: one file per seed, by label. Only lines of the kind "epoch" are read, and only epochs
            that every seed has. With several seeds, the band is their range.
        y: the field to draw, see `training_curve`.
        title: title of the chart.
        caption: caption of the chart.
        y_label: name and unit of the field.

    Returns:
        The chart; None if no log has the field.

    Raises:
        ValueError: if a line is no JSON object; the message names file and line.
    """
    curves = [curve for label, paths in logs.items() if (curve := training_curve(label, paths, y))]
    if not curves:
        return None
    return Chart(
        title=title, caption=caption, x_label="epoch", y_label=y_label, curves=tuple(curves)
    )


def training_curve(label: str, paths: Sequence[Path], field: str) -> Curve | None:
    """Makes the curve of one field of training logs against the epoch, over seeds.

    Args:
        label: label of the curve.
        paths: one log per seed.
        field: name of the field, such as "loss" or "validation"; "parts.item" is the field "item"
            within "parts".

    Returns:
        The curve; None if no epoch has the field in all logs.

    Raises:
        ValueError: if a line is no JSON object; the message names file and line.
    """
    seeds = [_values(path, field) for path in paths]
    epochs = sorted(set.intersection(*map(set, seeds))) if seeds else []
    if not epochs:
        return None
    by_epoch = [[seed[epoch] for seed in seeds] for epoch in epochs]
    has_range = len(seeds) > 1
    return Curve(
        label=label,
        x=tuple(epochs),
        y=tuple(map(fmean, by_epoch)),
        low=tuple(map(min, by_epoch)) if has_range else None,
        high=tuple(map(max, by_epoch)) if has_range else None,
    )


def part_names(path: Path) -> list[str]:
    """Names of the terms of the loss in a training log, taken from its first epoch."""
    for line in log_lines(path):
        if line.get("kind") == "epoch":
            return list(line.get("parts") or ())
    return []


def _by_length(
    runs: Mapping[str, Sequence[PerUser]], metric: Metric, y_label: str, *, title: str, caption: str
) -> Chart:
    lengths = range(1, next(iter(runs.values()))[0].k + 1)

    def mean(run: PerUser, k: int) -> float:
        return float(metric(run.rank_before, run.num_tied, k).mean())

    curves = [
        Curve(
            label=label,
            x=tuple(map(float, lengths)),
            y=tuple(fmean(mean(run, k) for run in seeds) for k in lengths),
        )
        for label, seeds in runs.items()
    ]
    return Chart(
        title=title,
        caption=caption,
        x_label="K",
        y_label=y_label,
        log_x=True,
        from_zero=True,
        curves=tuple(curves),
    )


def _values(path: Path, field: str) -> dict[float, float]:
    """The value of the field at each epoch that has the field."""
    values = {}
    for line in log_lines(path):
        value: Any = line if line.get("kind") == "epoch" else None
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            values[float(line["epoch"])] = float(value)
    return values
