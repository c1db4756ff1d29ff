"""Supervised training of models over semantic IDs: the next item's codes, at every position."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.trie import Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.cross_entropy import beam_aware_weights, next_code_cross_entropy
from sidestep.objectives.distillation import soft_cross_entropy
from sidestep.objectives.weighting import weighted
from sidestep.search.policy import Scope
from sidestep.step import normalised
from sidestep.training.item_loss import ItemTargets
from sidestep.training.objective import Loss
from sidestep.training.objective_config import NextCodeConfig
from sidestep.training.supervised_codes import SupervisedCodesObjective


class NextCodeObjective(SupervisedCodesObjective):
    """Next-code cross-entropy, summed over levels; optionally the item head's beside it."""

    def __init__(
        self,
        model: SemanticIdModel,
        config: NextCodeConfig,
        *,
        categories: Int[Tensor, " items"] | None = None,
    ) -> None:
        """Takes the network that is trained.

        Args:
            model: the network.
            config: see `NextCodeConfig`.
            categories: see `SupervisedCodesObjective`.

        Raises:
            ValueError: an item head without `item_weight`, or `item_weight` without an item head;
                or see `SupervisedCodesObjective`.
        """
        super().__init__(
            model,
            config,
            categories=categories,
            taught=None if config.distillation_weight is None else model,
            space=lambda: Scope(trie=trie_of(model)),
        )
        self.config = config
        self._trie = None if config.beam_aware is None else trie_of(model)

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        if self.config.beam_aware is not None:
            return (
                "objective.beam_aware divides the weights of codes by their mean over the batch; "
                "leave it out"
            )
        return super().whole_batch_term

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: each level's loss, and those of the heads."""
        # Only targets go through the heads, which cost as much as a layer.
        states = self.model.next_item_states(batch.histories)[batch.is_target]
        return self.loss_of(batch, states)

    def loss_of(self, batch: WindowBatch, states: Float[Tensor, "targets levels dim"]) -> Loss:
        """The loss of the targets of a batch.

        Args:
            batch: the windows.
            states: before each code of each target, the targets in the order of the windows.
        """
        users, positions = batch.is_target.nonzero(as_tuple=True)
        items = batch.items[users, positions]
        of_targets = batch.weights_of(users, positions)
        before = batch.before(users, positions)
        logits = self.model.level_logits(states, items, before)
        levels = next_code_cross_entropy(
            logits,
            self.model.item_codes(items),
            label_smoothing=self.config.label_smoothing,
            weights=self._weights(logits, items, of_targets),
        )
        loss = levels.sum()
        parts = {f"code_{level + 1}": part.detach() for level, part in enumerate(levels)}
        loss, parts = self.with_categories(loss, parts, states, items, of_targets)
        if self.config.item_weight is not None:
            assert self.item_loss is not None
            targets = ItemTargets(
                states=states[:, 0],
                histories=before,
                items=items,
                windows=users,
                weights=of_targets,
                found=self.found_items(batch),
                elsewhere=batch.other_targets,
            )
            of_items = self.item_loss(targets)
            loss = loss + self.config.item_weight * of_items.loss
            parts["item"] = of_items.loss.detach()
            if self.config.distillation_weight is not None:
                probs = of_items.next_code_probs()
                distilled = soft_cross_entropy(logits, probs, of_targets).sum()
                loss = loss + self.config.distillation_weight * distilled
                parts["distillation"] = distilled.detach()
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _weights(
        self, logits: Tensor, items: Tensor, of_targets: Tensor | None = None
    ) -> Tensor | None:
        """Factors on the loss of each code of the targets; None if there are none."""
        of_codes = self.model.code_weights(items)
        if of_targets is not None:
            ones = torch.ones(logits.shape[:2], device=logits.device)
            of_codes = weighted(ones if of_codes is None else of_codes, of_targets)
        beams = self.config.beam_aware
        if beams is None:
            return of_codes
        assert self._trie is not None
        if self._trie.device != items.device:
            self._trie = self._trie.to(items.device)
        above = functional.pad(self._trie.prefixes(self._trie.leaf_of(items))[:, :-1], (1, 0))
        legal = self._trie.legal(above)
        log_probs = normalised(logits.detach(), legal=legal)
        codes = self.model.item_codes(items)
        of_beams = beam_aware_weights(log_probs, codes, **beams.model_dump())
        return of_beams if of_codes is None else of_beams * of_codes


def trie_of(model: SemanticIdModel) -> Trie:
    """The trie of the codes that a network predicts."""
    return Trie.build(model.semantic_ids.cpu().numpy(), model.codebook_sizes)
