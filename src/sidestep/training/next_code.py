"""Supervised training of models over semantic IDs: the next item's codes, at every position."""

from torch import Tensor
from torch.nn import functional

from sidestep.catalog.trie import Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.transformer import Transformer
from sidestep.objectives.cross_entropy import (
    beam_aware_weights,
    next_code_cross_entropy,
    next_item_cross_entropy,
)
from sidestep.objectives.distillation import PrefixRanges, next_code_probs, soft_cross_entropy
from sidestep.step import HistoryBatch, normalised
from sidestep.training.objective import Loss, Objective
from sidestep.training.objective_config import NextCodeConfig


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
        self._trie = (
            None
            if config.beam_aware is None
            else Trie.build(model.semantic_ids.cpu().numpy(), model.codebook_sizes)
        )
        self.prefixes = (
            None
            if config.distillation_weight is None
            else PrefixRanges.of(model.semantic_ids, model.codebook_sizes)
        )

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: each level's loss, and the item head's."""
        histories = HistoryBatch(items=batch.items, lengths=batch.lengths)
        # Only targets go through the heads, which cost as much as a layer.
        users, positions = batch.is_target.nonzero(as_tuple=True)
        states = self.model.next_item_states(histories)[users, positions]
        items = batch.items[users, positions]
        logits = self.model.level_logits(states)
        levels = next_code_cross_entropy(
            logits,
            self.model.item_codes(items),
            label_smoothing=self.config.label_smoothing,
            weights=self._weights(logits, items),
        )
        loss = levels.sum()
        parts = {f"code_{level + 1}": part.detach() for level, part in enumerate(levels)}
        if self.config.item_weight is not None:
            assert isinstance(self.model, Transformer)
            scores = self.model.item_logits(states[:, 0], batch.before(users, positions))
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

    def _weights(self, logits: Tensor, items: Tensor) -> Tensor | None:
        """How much each code of the targets counts; None if all alike."""
        beams = self.config.beam_aware
        if beams is None:
            return None
        assert self._trie is not None
        if self._trie.device != items.device:
            self._trie = self._trie.to(items.device)
        above = functional.pad(self._trie.prefixes(self._trie.leaf_of(items))[:, :-1], (1, 0))
        legal = self._trie.legal(above)
        log_probs = normalised(logits.detach(), legal=legal)
        return beam_aware_weights(log_probs, self.model.item_codes(items), **beams.model_dump())

    def _distillation(self, logits: Tensor, scores: Tensor, items: Tensor) -> Tensor:
        """Cross-entropy of the codes to what the item head says of them."""
        assert self.prefixes is not None
        self.prefixes = self.prefixes.to(items.device)
        probs = next_code_probs(scores.float().softmax(dim=-1), items, self.prefixes)
        return soft_cross_entropy(logits, probs).sum()
