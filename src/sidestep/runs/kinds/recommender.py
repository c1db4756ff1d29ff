"""Runs of kind recommender: a user's own recommender, fitted on the training part."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sidestep.lazy_imports import imported_when_used
from sidestep.runs.plan import Given, Material, Plan
from sidestep.runs.run_config import ReadingRun

with imported_when_used():
    from sidestep.baselines import fitted
    from sidestep.runs import plan_parts


class RecommenderRun(ReadingRun):
    """A user's own recommender, fitted on the training part; no network is trained."""

    kind: Literal["recommender"] = "recommender"

    recommender: str = Field(min_length=1)
    """The import path of a class derived from `FittedRecommender`, such as
    my_package.my_module:MyRecommender."""

    settings: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    """Further arguments of the class method `fit`."""

    def prepare(self, given: Given) -> Plan:
        """See `RunConfig.prepare`."""
        made_of = fitted.fitted_class(self.recommender)
        if made_of is None:
            raise ValueError(
                f"recommender: {self.recommender} is no recommender that a run can fit; derive the "
                "class from sidestep.baselines.fitted.FittedRecommender."
            )

        def recommender(material: Material) -> fitted.FittedRecommender:
            try:
                return made_of.fit(
                    material.split.train.histories,
                    material.catalog.num_items,
                    max_history=self.max_history,
                    **self.settings,
                )
            except TypeError as error:
                raise ValueError(f"recommender: {self.recommender}: {error}.") from error

        return plan_parts.fitting(given, recommender, self.max_history)
