"""Supervised training of networks over item ids: the next item, at every position."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from sidestep.data.windows import WindowBatch, Windows
from sidestep.model.heads import ItemTable
from sidestep.model.item_network import ItemNetwork
from sidestep.training.item_loss import ItemTargets, next_item_loss
from sidestep.training.objective import Loss, Objective
from sidestep.training.objective_config import NextItemConfig


class NextItemObjective(Objective):
    """The loss of the next item at every position, see `NextItemConfig.loss`."""

    def __init__(self, network: ItemNetwork, config: NextItemConfig) -> None:
        """Takes the network that is trained.

        Raises:
            ValueError: see `next_item_loss`.
        """
        super().__init__()
        self.network = network
        self.config = config
        self._item_loss = next_item_loss(network, network.scores, config, network.num_items)

    def prepare(self, windows: Windows) -> None:
        """See `Objective.prepare`."""
        self._item_loss.prepare(windows)

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"network": self.network}

    @property
    def row_tables(self) -> Sequence[ItemTable]:
        """See `Objective.row_tables`."""
        return () if self._item_loss.reads_all_rows else self.network.item_tables

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`."""
        # The state after p items predicts item p, so the last item is only a target.
        histories = replace(batch.histories.without_last(), lengths=batch.lengths - 1)
        users, positions = batch.is_target.nonzero(as_tuple=True)
        targets = ItemTargets(
            states=self.network.states(histories)[users, positions],
            histories=batch.before(users, positions),
            items=batch.items[users, positions],
            windows=users,
            weights=batch.weights_of(users, positions),
        )
        loss = self._item_loss(targets).loss
        return Loss(loss=loss, num_targets=batch.num_targets, parts={"item": loss.detach()})
