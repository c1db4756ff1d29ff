"""Supervised training of models over semantic IDs: the next item's codes, at every position."""

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.transformer import Transformer
from sidestep.objectives.cross_entropy import next_code_cross_entropy, next_item_cross_entropy
from sidestep.step import HistoryBatch
from sidestep.training.objective import Loss, Objective


class NextCodeConfig(BaseModel):
    """What supervised training of a semantic-ID model lowers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability spread over a level's codebook."""

    item_weight: float | None = Field(None, gt=0)
    """Weight of the auxiliary item head's cross-entropy; None trains without it."""


class NextCodeObjective(Objective):
    """Next-code cross-entropy, summed over levels; optionally the item head's beside it."""

    def __init__(self, model: SemanticIdModel, config: NextCodeConfig) -> None:
        super().__init__()
        has_head = isinstance(model, Transformer) and model.item_head is not None
        if (config.item_weight is not None) != has_head:
            raise ValueError(
                f"item_weight is {config.item_weight}, but the model has "
                f"{'an' if has_head else 'no'} item head; set both or neither."
            )
        self.model = model
        self.config = config

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: each level's loss, and the item head's."""
        histories = HistoryBatch(items=batch.items, lengths=batch.lengths)
        # Only targets go through the heads, which cost as much as a layer.
        states = self.model.next_item_states(histories)[batch.is_target]
        items = batch.items[batch.is_target]
        levels = next_code_cross_entropy(
            self.model.level_logits(states),
            self.model.item_codes(items),
            label_smoothing=self.config.label_smoothing,
        )
        loss = levels.sum()
        parts = {f"code_{level + 1}": part.detach() for level, part in enumerate(levels)}
        if self.config.item_weight is not None:
            item_loss = self._item_loss(states[:, 0], items)
            loss = loss + self.config.item_weight * item_loss
            parts["item"] = item_loss.detach()
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _item_loss(self, states: Float[Tensor, "targets dim"], items: Tensor) -> Tensor:
        assert isinstance(self.model, Transformer)
        return next_item_cross_entropy(
            self.model.item_logits(states), items, label_smoothing=self.config.label_smoothing
        )
