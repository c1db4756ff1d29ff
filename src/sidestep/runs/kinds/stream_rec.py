"""Runs of kind stream-rec: STREAM-Rec over semantic IDs, its supervised stage."""

from __future__ import annotations

from typing import Annotated, Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import StreamRecConfig
from sidestep.runs.codes_run import OrderedCodesRun
from sidestep.training.objective_config import ThoughtConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.model import semantic_id_model, stream_rec
    from sidestep.training import objective as objectives
    from sidestep.training import thoughts


class StreamRecRun(OrderedCodesRun):
    """A T5 over semantic IDs that writes codes of reasoning first (arXiv:2504.09627).

    Departure from the paper: no pretraining on codes of similar items that were retrieved.
    """

    kind: Literal["stream-rec"] = "stream-rec"
    model: StreamRecConfig = StreamRecConfig()
    objective: Annotated[ThoughtConfig | OwnObjectiveConfig, or_own(ThoughtConfig)] = (
        ThoughtConfig()
    )

    @property
    def search_space(self) -> dict[str, str]:
        """See `RunConfig.search_space`."""
        space = {**super().search_space, "model.num_thoughts": "2..6"}
        if isinstance(self.objective, ThoughtConfig):
            space["objective.contrast_weight"] = "log:0.03..3.0"
            space["objective.quantisation_weight"] = "log:0.03..3.0"
        return space

    def untrained(self, catalog: catalogs.Catalog) -> semantic_id_model.SemanticIdModel:
        """See `CodesRun.untrained`."""
        return stream_rec.StreamRec(self.model, catalog.semantic_ids, catalog.codebook_sizes)

    def made_objective(
        self, network: semantic_id_model.SemanticIdModel, catalog: catalogs.Catalog
    ) -> objectives.Objective:
        """See `CodesRun.made_objective`."""
        if isinstance(self.objective, ThoughtConfig):
            assert isinstance(network, stream_rec.StreamRec)
            return thoughts.ThoughtObjective(network, self.objective)
        return super().made_objective(network, catalog)
