"""Runs of kind hstu: HSTU over item IDs."""

from __future__ import annotations

from typing import Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import HstuConfig
from sidestep.runs.tied_network_run import TiedNetworkRun
from sidestep.training.config import TrainingConfig

with imported_when_used():
    from sidestep.model import hstu


class HstuRun(TiedNetworkRun):
    """HSTU over item IDs."""

    kind: Literal["hstu"] = "hstu"
    model: HstuConfig = HstuConfig()
    training: TrainingConfig = TrainingConfig(
        learning_rate=1e-3, batch_size=128, epochs=60, betas=(0.9, 0.98), weight_decay=0.0
    )

    @property
    def network_class(self) -> type[hstu.Hstu]:
        """See `TiedNetworkRun.network_class`."""
        return hstu.Hstu
