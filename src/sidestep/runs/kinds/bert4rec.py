"""Runs of kind bert4rec: BERT4Rec over item IDs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from sidestep.lazy_imports import imported_when_used
from sidestep.model.config import Bert4RecConfig
from sidestep.runs.tied_network_run import TiedNetworkRun
from sidestep.training.config import TrainingConfig
from sidestep.training.objective_config import MaskedItemConfig
from sidestep.training.own_objective import OwnObjectiveConfig, or_own

with imported_when_used():
    from sidestep.model import bert4rec
    from sidestep.training import masked_item
    from sidestep.training import objective as objectives


class Bert4RecRun(TiedNetworkRun):
    """BERT4Rec over item IDs, which learns to fill in masked items."""

    kind: Literal["bert4rec"] = "bert4rec"
    model: Bert4RecConfig = Bert4RecConfig()
    objective: Annotated[MaskedItemConfig | OwnObjectiveConfig, or_own(MaskedItemConfig)] = (
        MaskedItemConfig()
    )
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=100)

    @property
    def network_class(self) -> type[bert4rec.Bert4Rec]:
        """See `TiedNetworkRun.network_class`."""
        return bert4rec.Bert4Rec

    def made_objective(self, network: Any) -> objectives.Objective:
        """The objective, which trains the network."""
        if isinstance(self.objective, OwnObjectiveConfig):
            return self.objective.made(network)
        return masked_item.MaskedItemObjective(network, self.objective)
