"""Runs of kind repeats: a user's own most frequent items, then the popular ones."""

from typing import Literal

from pydantic import Field

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Plan
from sidestep.runs.run_config import ReadingRun

with imported_when_used():
    from sidestep.runs import plan_parts


class RepeatsRun(ReadingRun):
    """A user's own most frequent items, then the popular ones; nothing is learned."""

    kind: Literal["repeats"] = "repeats"

    max_history: int = Field(1_000_000, ge=1)
    """Most recent items of a history that count; the default is all of them."""

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        return plan_parts.counting(given, "repeats", self.max_history)
