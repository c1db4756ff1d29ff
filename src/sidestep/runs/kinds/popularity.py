"""Runs of kind popularity: items by their count in the training part; nothing is learned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Material, Plan
from sidestep.runs.run_config import ReadingRun

with imported_when_used():
    from sidestep.baselines import window_popularity
    from sidestep.runs import plan_parts


class PopularityRun(ReadingRun):
    """Items by their count in the training part; nothing is learned."""

    kind: Literal["popularity"] = "popularity"

    # Left out of files where it is not set, so that runs of older versions go on.
    window_days: int | None = Field(None, ge=1, le=36_500, exclude_if=lambda days: days is None)
    """Days before the moment of recommendation that count; None counts the whole training part. The
    data need times."""

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        if self.window_days is None:
            return plan_parts.counting(given, "popularity", self.max_history)
        days = self.window_days
        window_popularity.times_and_unit(given.split.train.histories)  # refuses before the work

        def fitted(material: Material) -> window_popularity.WindowPopularity:
            histories, num_items = material.split.train.histories, material.catalog.num_items
            return window_popularity.WindowPopularity.fit(
                histories, num_items, max_history=self.max_history, window_days=days
            )

        return plan_parts.fitting(given, fitted, self.max_history)
