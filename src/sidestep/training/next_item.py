"""Supervised training of networks over item ids: the next item, at every position."""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from sidestep.data.windows import WindowBatch
from sidestep.model.item_network import ItemNetwork
from sidestep.objectives.cross_entropy import next_item_cross_entropy
from sidestep.training.objective import Loss, Objective
from sidestep.training.objective_config import NextItemConfig


class NextItemObjective(Objective):
    """Full cross-entropy over the catalog at every position."""

    def __init__(self, network: ItemNetwork, config: NextItemConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"network": self.network}

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`."""
        # The state after p items predicts item p, so the last item is only a target.
        histories = replace(batch.histories.without_last(), lengths=batch.lengths - 1)
        users, positions = batch.is_target.nonzero(as_tuple=True)
        states = self.network.states(histories)[users, positions]
        loss = next_item_cross_entropy(
            self.network.scores(states, batch.before(users, positions)),
            batch.items[users, positions],
            label_smoothing=self.config.label_smoothing,
            weights=batch.weights_of(users, positions),
        )
        return Loss(loss=loss, num_targets=batch.num_targets, parts={"item": loss.detach()})
