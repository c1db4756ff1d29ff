"""Supervised training of models over semantic IDs: the next item's codes, at every position."""

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.transformer import Transformer
from sidestep.objectives.cross_entropy import next_code_cross_entropy, next_item_cross_entropy
from sidestep.objectives.distillation import PrefixRanges, next_code_probs, soft_cross_entropy
from sidestep.step import HistoryBatch
from sidestep.training.objective import Loss, Objective


class NextCodeConfig(BaseModel):
    """What supervised training of a semantic-ID model lowers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability spread over a level's codebook, and in the item head over the
    catalog."""

    item_weight: float | None = Field(None, gt=0)
    """Weight of the auxiliary item head's cross-entropy; None trains without it."""

    distillation_weight: float | None = Field(None, gt=0)
    """Weight of the item head's distribution as a soft target of the codes; None: no distillation.

    The head ranks better than the codes do. What it says of an item's prefix, summed over the
    items below, is a target for the codes that knows which wrong codes are nearly right.
    """

    @model_validator(mode="after")
    def _has_teacher(self) -> "NextCodeConfig":
        if self.distillation_weight is not None and self.item_weight is None:
            raise ValueError(
                "distillation_weight needs an item head to learn from: set item_weight."
            )
        return self


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
        self.prefixes = (
            None
            if config.distillation_weight is None
            else PrefixRanges.of(model.semantic_ids, model.codebook_sizes)
        )

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: each level's loss, and the item head's."""
        histories = HistoryBatch(items=batch.items, lengths=batch.lengths)
        # Only targets go through the heads, which cost as much as a layer.
        states = self.model.next_item_states(histories)[batch.is_target]
        items = batch.items[batch.is_target]
        logits = self.model.level_logits(states)
        levels = next_code_cross_entropy(
            logits, self.model.item_codes(items), label_smoothing=self.config.label_smoothing
        )
        loss = levels.sum()
        parts = {f"code_{level + 1}": part.detach() for level, part in enumerate(levels)}
        if self.config.item_weight is not None:
            assert isinstance(self.model, Transformer)
            scores = self.model.item_logits(states[:, 0])
            item_loss = next_item_cross_entropy(
                scores, items, label_smoothing=self.config.label_smoothing
            )
            loss = loss + self.config.item_weight * item_loss
            parts["item"] = item_loss.detach()
            if self.config.distillation_weight is not None:
                distilled = self._distillation(logits, scores.detach(), items)
                loss = loss + self.config.distillation_weight * distilled
                parts["distillation"] = distilled.detach()
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _distillation(self, logits: Tensor, scores: Tensor, items: Tensor) -> Tensor:
        """Cross-entropy of the codes to what the item head says of them."""
        assert self.prefixes is not None
        self.prefixes = self.prefixes.to(items.device)
        probs = next_code_probs(scores.float().softmax(dim=-1), items, self.prefixes)
        return soft_cross_entropy(logits, probs).sum()
