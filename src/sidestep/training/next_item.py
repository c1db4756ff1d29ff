"""Supervised training of networks over item ids: the next item, at every position."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from sidestep.data.windows import WindowBatch, Windows
from sidestep.model.heads import ItemTable
from sidestep.model.item_network import ItemNetwork
from sidestep.step import HistoryBatch
from sidestep.training.item_loss import ItemTargets, next_item_loss
from sidestep.training.objective import Loss, Objective
from sidestep.training.objective_config import NextItemConfig


def targets_of(batch: WindowBatch) -> tuple[HistoryBatch, Callable[[Tensor], ItemTargets]]:
    """The histories that a network reads for a batch, and a function that makes its targets.

    The function takes the states at all positions. The state after p items predicts item p, so the
    last item of a window is only a target.
    """
    histories = replace(batch.histories.without_last(), lengths=batch.lengths - 1)
    users, positions = batch.is_target.nonzero(as_tuple=True)
    before, items = batch.before(users, positions), batch.items[users, positions]
    weights = batch.weights_of(users, positions)

    def targets(states: Float[Tensor, "users positions dim"]) -> ItemTargets:
        return ItemTargets(
            states=states[users, positions],
            histories=before,
            items=items,
            windows=users,
            weights=weights,
            elsewhere=batch.other_targets,
        )

    return histories, targets


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
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        return self._item_loss.whole_batch_term

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
        histories, targets_at = targets_of(batch)
        loss = self._item_loss(targets_at(self.network.states(histories))).loss
        return Loss(loss=loss, num_targets=batch.num_targets, parts={"item": loss.detach()})
