"""Runs of kind popularity: items by their count in the training part; nothing is learned."""

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Plan
from sidestep.runs.run_config import ReadingRun

with imported_when_used():
    from sidestep.runs import plan_parts


class PopularityRun(ReadingRun):
    """Items by their count in the training part; nothing is learned."""

    kind: Literal["popularity"] = "popularity"

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        return plan_parts.counting(given, "popularity", self.max_history)
