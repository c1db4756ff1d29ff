"""What supervised trainings over codes share: a network, and the loss of its item head."""

from collections.abc import Mapping, Sequence

from torch import nn

from sidestep.data.windows import Windows
from sidestep.model.heads import ItemTable
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.training.item_loss import item_loss_of_head
from sidestep.training.objective import Objective
from sidestep.training.objective_config import ItemLossConfig


class SupervisedCodesObjective(Objective):
    """A loss of the next item's codes, beside which the item head may learn."""

    def __init__(
        self,
        model: SemanticIdModel,
        config: ItemLossConfig,
        item_weight: float | None,
        *,
        label_smoothing: float,
        taught: SemanticIdModel | None = None,
    ) -> None:
        """Takes the network that is trained; for the other arguments see `item_loss_of_head`.

        Raises:
            ValueError: see `item_loss_of_head`.
        """
        super().__init__()
        self.model = model
        self.item_loss = item_loss_of_head(
            model, config, item_weight, label_smoothing=label_smoothing, taught=taught
        )

    def prepare(self, windows: Windows) -> None:
        """See `Objective.prepare`."""
        if self.item_loss is not None:
            self.item_loss.prepare(windows)

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"model": self.model}

    @property
    def row_tables(self) -> Sequence[ItemTable]:
        """See `Objective.row_tables`."""
        reads_all = self.item_loss is not None and self.item_loss.reads_all_rows
        return () if reads_all else self.model.item_tables
