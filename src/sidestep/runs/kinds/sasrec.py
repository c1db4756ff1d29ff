"""Runs of kind sasrec: SASRec over item IDs."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import SasRecConfig
from sidestep.runs.tied_network_run import TiedNetworkRun
from sidestep.training.config import TrainingConfig

with imported_when_used():
    from sidestep.model import sasrec


class SasRecRun(TiedNetworkRun):
    """SASRec over item IDs; eSASRec with `model.layers: ligr`."""

    kind: Literal["sasrec"] = "sasrec"
    model: SasRecConfig = SasRecConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=60)

    @property
    def network_class(self) -> type[sasrec.SasRec]:
        """See `TiedNetworkRun.network_class`."""
        return sasrec.SasRec
