"""Popular and rare items: metrics by popularity of the target, and popularity of listed items."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np
import torch
from jaxtyping import Int

from sidestep.evaluation.evaluator import COVERAGE_CUTOFF
from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.report.page import Section
from sidestep.evaluation.report.table import Cell, Entry, Table
from sidestep.evaluation.report.target_groups import (
    GroupEstimates,
    estimates_table,
    group_estimates,
)
from sidestep.evaluation.results import PerUser
from sidestep.metrics.popularity import GROUPS, concentration, popularity_groups
from sidestep.metrics.ranking import coverage
from sidestep.padding import NO_ITEM


def popularity_section(
    runs: Mapping[str, Sequence[PerUser]], popularity: Int[np.ndarray, " items"]
) -> Section:
    """Shows metrics by the target's popularity, and coverage and concentration of the lists.

    Args:
        runs: runs of all seeds, by label.
        popularity: interactions per item in training.
    """
    groups = popularity_groups(popularity)
    targets = next(iter(runs.values()))[0].targets
    group_of_target = groups[targets]
    present = [group for group in range(len(GROUPS)) if (group_of_target == group).any()]
    parts: list[Table | Chart] = [_groups(groups, popularity, group_of_target)]
    if len(present) > 1:
        estimates = {
            label: group_estimates(seeds, [group_of_target == group for group in present])
            for label, seeds in runs.items()
        }
        names = tuple(GROUPS[group] for group in present)
        metrics = list(next(iter(estimates.values())))
        parts += [_chart(metric, estimates, names) for metric in metrics]
        parts.append(
            estimates_table(
                estimates,
                names,
                caption="By the popularity of the item that came next: mean over users and seeds, "
                "and its 95% bootstrap interval.",
            )
        )
    parts.append(_lists(runs, groups, group_of_target))
    return Section(
        title="Popular and rare items",
        lead="Items are divided by their interactions in training, from the most popular on: the "
        "head has the first third of all interactions, the middle has the second third, the tail "
        "has the rest and the items that were never seen.",
        parts=parts,
    )


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
        caption="The groups, and the users whose next item is in each group.",
        columns=(
            "group",
            "items",
            "interactions of an item",
            "share of interactions",
            "users",
        ),
        rows=tuple(rows),
    )


def _chart(metric: str, estimates: Mapping[str, GroupEstimates], names: tuple[str, ...]) -> Chart:
    return Chart(
        title=f"{metric} by the target's popularity",
        caption="Mean over the users whose next item is in the group, with its 95% interval.",
        x_label="group of the target",
        y_label=metric,
        x_names=names,
        curves=tuple(
            Curve(
                label=label,
                x=tuple(map(float, range(len(names)))),
                y=tuple(each.mean for each in of_label[metric]),
                low=tuple(each.interval.low for each in of_label[metric]),
                high=tuple(each.interval.high for each in of_label[metric]),
            )
            for label, of_label in estimates.items()
        ),
        from_zero=True,
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
                mean(seeds, lambda run: _concentration(run, cutoff, len(groups))),
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
    return coverage(torch.from_numpy(run.items[:, :cutoff]), num_items)


def _concentration(run: PerUser, cutoff: int, num_items: int) -> float:
    return concentration(torch.from_numpy(run.items[:, :cutoff]), num_items)


def _listed(run: PerUser, cutoff: int) -> Int[np.ndarray, " entries"]:
    items = run.items[:, :cutoff]
    listed: np.ndarray = items[items != NO_ITEM]
    return listed


def _shares(groups: Int[np.ndarray, " entries"]) -> list[float]:
    counts = np.bincount(groups, minlength=len(GROUPS))
    return [float(share) for share in counts / max(len(groups), 1)]
