"""Groups of targets: repeated and novel ones, cold ones, and the metrics of any groups."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from sidestep.evaluation.compare import Estimate, estimate, metrics_by_seed
from sidestep.evaluation.report.page import Section
from sidestep.evaluation.report.table import Cell, Table, number, number_range
from sidestep.evaluation.results import PerUser
from sidestep.metrics.statistics import numbered

_METRICS = ("HR@10", "NDCG@10")

GroupEstimates = Mapping[str, Sequence[Estimate]]
"""Estimates by metric, one per group."""


def group_estimates(
    seeds: Sequence[PerUser], masks: Sequence[Bool[np.ndarray, " rows"]]
) -> GroupEstimates:
    """Estimates every metric whose cut-off is within the length of the lists, in each group.

    Args:
        seeds: the runs of one method.
        masks: the rows of each group, at least one.
    """
    users = numbered(seeds[0].user_ids)
    values = metrics_by_seed(seeds)
    return {
        metric: [estimate(values[metric][:, is_in], users[is_in], seed=0) for is_in in masks]
        for metric in _METRICS
        if metric in values
    }


def estimates_table(
    estimates: Mapping[str, GroupEstimates], names: Sequence[str], *, caption: str
) -> Table:
    """A table with a row per method, and a column per metric and group.

    Args:
        estimates: of each method, by its label.
        names: of the groups.
        caption: of the table.
    """
    metrics = list(next(iter(estimates.values())))
    return Table(
        caption=caption,
        columns=("method", *(f"{metric}, {name}" for metric in metrics for name in names)),
        rows=tuple(
            (label, *(_cell(each) for metric in metrics for each in of_label[metric]))
            for label, of_label in estimates.items()
        ),
    )


def target_kinds_section(
    runs: Mapping[str, Sequence[PerUser]],
    *,
    is_repeat: Bool[np.ndarray, " rows"] | None,
    popularity: Int[np.ndarray, " items"] | None,
) -> Section:
    """Shows metrics of repeated and of novel targets, and of cold targets, where there are any.

    Args:
        runs: runs of all seeds, by label.
        is_repeat: whether the target of a row is in its history; None if not known.
        popularity: interactions per item in training; None if not known.
    """
    targets = next(iter(runs.values()))[0].targets
    kinds: list[tuple[str, Bool[np.ndarray, " rows"]]] = []
    if is_repeat is not None and is_repeat.any():
        kinds += [("repeated", is_repeat), ("novel", ~is_repeat)]
    if popularity is not None and (is_cold := popularity[targets] == 0).any():
        kinds += [("cold", is_cold), ("known", ~is_cold)]
    present = [(name, is_in) for name, is_in in kinds if is_in.any()]
    if not present:
        return Section(title="Kinds of targets", parts=[])
    names = [f"{name} ({int(is_in.sum()):,})" for name, is_in in present]
    masks = [is_in for _, is_in in present]
    return Section(
        title="Kinds of targets",
        lead="A repeated target is in the history of its user, a novel one is not. A cold target "
        "has no interaction in training, a known one has some. In brackets: number of rows.",
        parts=[
            estimates_table(
                {label: group_estimates(seeds, masks) for label, seeds in runs.items()},
                names,
                caption="Mean over users and seeds, and its 95% bootstrap interval.",
            )
        ],
    )


def _cell(found: Estimate) -> Cell:
    low, high = found.interval.low, found.interval.high
    return Cell(text=number(found.mean), notes=(number_range(low, high),))
