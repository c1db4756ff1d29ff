"""Runs of kind gru4rec: GRU4Rec over item IDs."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import Gru4RecConfig
from sidestep.runs.tied_network_run import TiedNetworkRun
from sidestep.training.config import TrainingConfig

with imported_when_used():
    from sidestep.model import gru4rec


class Gru4RecRun(TiedNetworkRun):
    """GRU4Rec over item IDs."""

    kind: Literal["gru4rec"] = "gru4rec"
    model: Gru4RecConfig = Gru4RecConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=60)

    @property
    def network_class(self) -> type[gru4rec.Gru4Rec]:
        """See `TiedNetworkRun.network_class`."""
        return gru4rec.Gru4Rec
