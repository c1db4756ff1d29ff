"""Test-time scaling: what a search makes of a larger budget, and what no budget could exceed.

Source of the question: PROMISE (arXiv:2601.04674), Fig. 4 and 5. A budget is counted in four units
that do not exchange: tokens, prefixes scored, FLOPs, and wall time. Searches are compared at equal
FLOPs and at equal wall time, for a scored prefix costs no token.
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
"""What a budget is counted in, all per user."""

EQUAL_UNITS: tuple[Unit, ...] = ("flops", "ms")
"""At equal amounts of which searches are compared."""

METRICS = ("NDCG@10", "HR@10")
"""Of the lists; how early the target is lost is HRecall, by depth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPoint:
    """One search at one budget.

    search: its name; its points are one curve.
    budget: what it was given, in words, such as "K = 100".
    metrics: means over users, by the names of results files.
    intervals: of some metrics, 95 % over users.
    tokens, scored, flops, ms: what it took per user; None where not known.
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
        """What it took per user."""
        amount: float | None = getattr(self, unit)
        return amount

    def as_json(self) -> dict[str, Any]:
        """The same as plain dictionaries and numbers."""
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

    points: in the order of the searches, each from the smallest budget to the largest.
    ceilings: by search, the exhaustive one that ranks every item by what the search ranks by; a
        search without one is missing.
    """

    points: Sequence[ScalingPoint]
    ceilings: Mapping[str, ScalingPoint]

    @property
    def by_search(self) -> dict[str, list[ScalingPoint]]:
        """The curves."""
        curves: dict[str, list[ScalingPoint]] = {}
        for point in self.points:
            curves.setdefault(point.search, []).append(point)
        return curves

    @property
    def metrics(self) -> list[str]:
        """What is drawn: NDCG@10, HR@10, and HRecall of the lists at every depth."""
        found = [name for name in self.points[0].metrics if re.fullmatch(r"HRecall@\d+@\d+", name)]
        return [*(name for name in METRICS if name in self.points[0].metrics), *found]

    def as_json(self) -> dict[str, Any]:
        """The same as plain lists, dictionaries and numbers."""
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
    """A point with the intervals of its metrics; see `ScalingPoint`."""
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
    """What a search would reach at another's cost: between its points, linear in the log of cost.

    Args:
        curve: its points.
        unit: of the cost.
        amount: the other's cost; None where not known.
        metric: to read.

    Returns:
        None outside of the costs that were measured, and where a cost is not known or 0.
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
