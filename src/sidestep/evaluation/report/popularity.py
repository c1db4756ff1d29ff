"""Popular and rare items: for whom the next item is found, and what the lists are made of."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Float, Int

from sidestep.evaluation.evaluator import COVERAGE_CUTOFF, per_user_metrics
from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.report.page import Section
from sidestep.evaluation.report.table import Cell, Entry, Table, number
from sidestep.evaluation.results import PerUser
from sidestep.metrics.popularity import GROUPS, concentration, popularity_groups
from sidestep.metrics.ranking import coverage
from sidestep.metrics.statistics import bootstrap_interval
from sidestep.step import NO_ITEM

_METRICS = ("HR@10", "NDCG@10")


def popularity_section(
    runs: Mapping[str, Sequence[PerUser]], popularity: Int[np.ndarray, " items"]
) -> Section:
    """Metrics by the target's popularity, and coverage and concentration of the lists.

    Args:
        runs: every seed, by label.
        popularity: interactions per item in training.
    """
    groups = popularity_groups(popularity)
    targets = next(iter(runs.values()))[0].targets
    group_of_target = groups[targets.numpy()]
    present = [group for group in range(len(GROUPS)) if (group_of_target == group).any()]
    metrics = [name for name in _METRICS if name in _per_user(next(iter(runs.values())))]
    parts: list[Table | Chart] = [_groups(groups, popularity, group_of_target)]
    if len(present) > 1:
        for metric in metrics:
            values = {label: _per_user(seeds)[metric] for label, seeds in runs.items()}
            parts.append(_chart(metric, values, group_of_target, present))
        parts.append(_by_group(runs, metrics, group_of_target, present))
    parts.append(_lists(runs, groups, group_of_target))
    return Section(
        title="Popular and rare items",
        lead="Items are divided by their interactions in training, from the most popular on: the "
        "head has the first third of all interactions, the middle the second, the tail the rest "
        "and items never seen.",
        parts=parts,
    )


def _per_user(seeds: Sequence[PerUser]) -> dict[str, Float[np.ndarray, " users"]]:
    """Every metric per user, as the mean over seeds."""
    by_seed = [per_user_metrics(run.rank_before, run.bucket_size, run.k) for run in seeds]
    return {
        name: torch.stack([values[name] for values in by_seed]).mean(dim=0).numpy()
        for name in by_seed[0]
    }


def _groups(
    groups: Int[np.ndarray, " items"],
    popularity: Int[np.ndarray, " items"],
    group_of_target: Int[np.ndarray, " users"],
) -> Table:
    rows = []
    for group, name in enumerate(GROUPS):
        counts = popularity[groups == group]
        rows.append(
            (
                name,
                len(counts),
                None if len(counts) == 0 else Cell(text=f"{counts.min():,}–{counts.max():,}"),
                Cell(text=f"{counts.sum() / max(popularity.sum(), 1):.1%}"),
                int((group_of_target == group).sum()),
            )
        )
    return Table(
        caption="The groups, and whose next item is in them.",
        columns=(
            "group",
            "items",
            "interactions of an item",
            "share of interactions",
            "users",
        ),
        rows=tuple(rows),
    )


def _chart(
    metric: str,
    values: Mapping[str, Float[np.ndarray, " users"]],
    group_of_target: Int[np.ndarray, " users"],
    present: Sequence[int],
) -> Chart:
    curves = []
    for label, per_user in values.items():
        own = [per_user[group_of_target == group] for group in present]
        intervals = [bootstrap_interval(value, seed=0) for value in own]
        curves.append(
            Curve(
                label=label,
                x=tuple(map(float, range(len(present)))),
                y=tuple(float(value.mean()) for value in own),
                low=tuple(interval.low for interval in intervals),
                high=tuple(interval.high for interval in intervals),
            )
        )
    return Chart(
        title=f"{metric} by the target's popularity",
        caption="Mean over the users whose next item is in the group, with its 95% interval.",
        x_label="group of the target",
        y_label=metric,
        x_names=tuple(GROUPS[group] for group in present),
        curves=tuple(curves),
        from_zero=True,
    )


def _by_group(
    runs: Mapping[str, Sequence[PerUser]],
    metrics: Sequence[str],
    group_of_target: Int[np.ndarray, " users"],
    present: Sequence[int],
) -> Table:
    def cell(values: Float[np.ndarray, " users"]) -> Cell:
        interval = bootstrap_interval(values, seed=0)
        return Cell(
            text=number(float(values.mean())),
            notes=(f"{number(interval.low)}–{number(interval.high)}",),
        )

    rows: list[tuple[Entry, ...]] = []
    for label, seeds in runs.items():
        values = _per_user(seeds)
        rows.append(
            (
                label,
                *(
                    cell(values[metric][group_of_target == group])
                    for metric in metrics
                    for group in present
                ),
            )
        )
    return Table(
        caption="By the popularity of what came next: mean over users and seeds, and its 95% "
        "bootstrap interval.",
        columns=("method", *(f"{name}, {GROUPS[group]}" for name in metrics for group in present)),
        rows=tuple(rows),
    )


def _lists(
    runs: Mapping[str, Sequence[PerUser]],
    groups: Int[np.ndarray, " items"],
    group_of_target: Int[np.ndarray, " users"],
) -> Table:
    cutoff = min(COVERAGE_CUTOFF, *(run.k for seeds in runs.values() for run in seeds))

    def mean(seeds: Sequence[PerUser], measure: Callable[[PerUser], float]) -> float:
        return fmean(measure(run) for run in seeds)

    rows: list[tuple[Entry, ...]] = []
    for label, seeds in runs.items():
        shares = [_shares(groups[_listed(run, cutoff)]) for run in seeds]
        rows.append(
            (
                label,
                Cell(text=f"{mean(seeds, lambda run: _coverage(run, cutoff, len(groups))):.1%}"),
                mean(seeds, lambda run: concentration(run.items[:, :cutoff], len(groups))),
                *(Cell(text=f"{share:.1%}") for share in np.mean(shares, axis=0)),
            )
        )
    chosen = (Cell(text=f"{share:.1%}") for share in _shares(group_of_target))
    return Table(
        caption=f"The first {cutoff} of all lists together. Coverage: items of the catalog in at "
        "least one list. Gini: 0 if all items are listed equally often, 1 if all lists hold one "
        "item. Shares: entries that are head, middle or tail items.",
        columns=("method", "coverage", "Gini", *GROUPS),
        rows=(*rows, ("what users chose next", None, None, *chosen)),
    )


def _coverage(run: PerUser, cutoff: int, num_items: int) -> float:
    return coverage(run.items[:, :cutoff], num_items)


def _listed(run: PerUser, cutoff: int) -> Int[np.ndarray, " entries"]:
    items = run.items[:, :cutoff]
    return items[items != NO_ITEM].numpy()


def _shares(groups: Int[np.ndarray, " entries"]) -> list[float]:
    counts = np.bincount(groups, minlength=len(GROUPS))
    return [float(share) for share in counts / max(len(groups), 1)]
