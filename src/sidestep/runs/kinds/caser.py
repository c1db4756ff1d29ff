"""Runs of kind caser: Caser over item IDs."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import CaserConfig
from sidestep.runs.tied_network_run import TiedNetworkRun
from sidestep.training.config import TrainingConfig

with imported_when_used():
    from sidestep.model import caser


class CaserRun(TiedNetworkRun):
    """Caser over item IDs."""

    kind: Literal["caser"] = "caser"
    model: CaserConfig = CaserConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=60)

    @property
    def network_class(self) -> type[caser.Caser]:
        """See `TiedNetworkRun.network_class`."""
        return caser.Caser
