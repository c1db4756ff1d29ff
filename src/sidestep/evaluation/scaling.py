"""Test-time scaling: quality of a search by its budget, and the ceiling that no budget exceeds.

Source of the question: PROMISE (arXiv:2601.04674), Fig. 4 and 5. A budget is counted in four units
that cannot be converted into each other: tokens, prefixes scored, FLOPs, and wall time. Searches
are compared at equal FLOPs and at equal wall time. They are not compared at equal tokens, because
a scored prefix costs no token.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from sidestep.evaluation.results import PerUser
from sidestep.evaluation.target_metrics import per_user_metrics
from sidestep.metrics.statistics import Interval, bootstrap_interval, numbered

Unit = Literal["tokens", "ms", "flops", "scored"]
"""Unit of a budget, per user."""

EQUAL_UNITS: tuple[Unit, ...] = ("flops", "ms")
"""Units at whose equal amounts searches are compared."""

METRICS = ("NDCG@10", "HR@10")
"""Metrics of the lists. HRecall by depth tells how early a search loses the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPoint:
    """One search at one budget.

    search: name of the search; all points of a search form one curve.
    budget: budget of the search in words, such as "K = 100".
    metrics: means over users, by the names of results files.
    intervals: 95 % intervals over users, of some metrics.
    tokens, scored, flops, ms: cost per user; None if not known.
    """

    search: str
    budget: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    tokens: float
    scored: float
    flops: float | None
    ms: float

    def spent(self, unit: Unit) -> float | None:
        """Cost per user in this unit; None if not known."""
        amount: float | None = getattr(self, unit)
        return amount

    def as_json(self) -> dict[str, Any]:
        """The point as plain dictionaries and numbers."""
        return {
            "search": self.search,
            "budget": self.budget,
            "metrics": dict(self.metrics),
            "intervals": {
                name: [interval.low, interval.high] for name, interval in self.intervals.items()
            },
            "tokens_per_user": self.tokens,
            "scored_per_user": self.scored,
            "flops_per_user": self.flops,
            "ms_per_user": self.ms,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Searches of one model on the same users, at growing budgets.

    points: the points in the order of the searches; those of a search from the smallest budget to
        the largest.
    ceilings: for each search, by its name, the exhaustive search that ranks every item by the same
        score. A search without a ceiling is left out.
    """

    points: Sequence[ScalingPoint]
    ceilings: Mapping[str, ScalingPoint]

    @property
    def by_search(self) -> dict[str, list[ScalingPoint]]:
        """The points of each search, by its name."""
        curves: dict[str, list[ScalingPoint]] = {}
        for point in self.points:
            curves.setdefault(point.search, []).append(point)
        return curves

    @property
    def metrics(self) -> list[str]:
        """Metrics to draw: NDCG@10, HR@10, and HRecall of the lists at every depth."""
        found = [name for name in self.points[0].metrics if re.fullmatch(r"HRecall@\d+@\d+", name)]
        return [*(name for name in METRICS if name in self.points[0].metrics), *found]

    def as_json(self) -> dict[str, Any]:
        """The curves and ceilings as plain lists, dictionaries and numbers."""
        return {
            "points": [point.as_json() for point in self.points],
            "ceilings": {name: point.as_json() for name, point in self.ceilings.items()},
        }


def scaling_point(
    per_user: PerUser,
    *,
    search: str,
    budget: str,
    metrics: Mapping[str, float],
    tokens: float,
    scored: float,
    flops: float | None,
    ms: float,
) -> ScalingPoint:
    """Makes a point with the intervals of its metrics; see `ScalingPoint`."""
    values = per_user_metrics(per_user.rank_before, per_user.num_tied, per_user.k)
    users = numbered(per_user.user_ids)
    return ScalingPoint(
        search=search,
        budget=budget,
        metrics=metrics,
        intervals={
            name: bootstrap_interval(values[name], users=users, seed=0)
            for name in METRICS
            if name in values
        },
        tokens=tokens,
        scored=scored,
        flops=flops,
        ms=ms,
    )


def at_equal_cost(
    curve: Sequence[ScalingPoint], *, unit: Unit, amount: float | None, metric: str
) -> float | None:
    """Metric that a search would reach at the cost of another search.

    The metric is interpolated between the points of the search, linear in the logarithm of cost.

    Args:
        curve: the points of the search.
        unit: unit of the cost.
        amount: cost of the other search; None if not known.
        metric: name of the metric.

    Returns:
        The metric; None outside of the costs that were measured, and if a cost is not known or 0.
    """
    known = sorted(
        (spent, point.metrics[metric]) for point in curve if (spent := point.spent(unit))
    )
    if not amount or not known or not known[0][0] <= amount <= known[-1][0]:
        return None
    for (low, at_low), (high, at_high) in pairwise(known):
        if amount <= high and low < high:
            share = math.log(amount / low) / math.log(high / low)
            return at_low + share * (at_high - at_low)
    return known[-1][1]
