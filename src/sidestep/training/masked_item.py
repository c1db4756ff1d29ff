"""Supervised training of a network that fills in masked items."""

import torch
from jaxtyping import Bool
from torch import Tensor

from sidestep.data.windows import WindowBatch
from sidestep.model.bert4rec import Bert4Rec
from sidestep.objectives.negatives import IN_BATCH
from sidestep.training.item_loss import ItemTargets, SampledItemLoss
from sidestep.training.next_item import NextItemObjective
from sidestep.training.objective import Loss
from sidestep.training.objective_config import MaskedItemConfig


class MaskedItemObjective(NextItemObjective):
    """The loss of masked items, which are read from the items on both sides.

    Source: the Cloze task of BERT4Rec (arXiv:1904.06690, section 3.6): a share of the items is
    masked at random, and sometimes the last item alone, as when the next item is asked for. Our
    choices: only targets of a window are masked, so that windows that overlap learn each position
    once; each window has a masked item; a repeat bias counts the items before the masked one alone.
    """

    network: Bert4Rec
    config: MaskedItemConfig

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`; no process knows what another one masks."""
        draws_in_batch = IN_BATCH in self.config.negatives
        if draws_in_batch and isinstance(self._item_loss, SampledItemLoss):
            return (
                "negatives names the source in_batch, and no process knows the items that another "
                "one masks; leave in_batch out"
            )
        return super().whole_batch_term

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; the mean over the masked items, drawn anew in each step."""
        is_masked = self.masks(batch)
        users, positions = is_masked.nonzero(as_tuple=True)
        targets = ItemTargets(
            states=self.network.masked_states(batch.histories, is_masked)[users, positions],
            histories=batch.before(users, positions),
            items=batch.items[users, positions],
            windows=users,
            weights=batch.weights_of(users, positions),
        )
        loss = self._item_loss(targets).loss
        return Loss(loss=loss, num_targets=batch.num_targets, parts={"item": loss.detach()})

    def masks(self, batch: WindowBatch) -> Bool[Tensor, "users length"]:
        """Draws the items that are masked, from the random generator of the device."""
        is_target, device = batch.is_target, batch.items.device
        columns = torch.arange(is_target.shape[1], device=device)
        last = torch.where(is_target, columns, -1).amax(dim=1, keepdim=True)
        drawn = torch.rand(is_target.shape, device=device) < self.config.mask_share
        is_masked = is_target & drawn
        # The last target alone is masked in some windows, and where no item was drawn.
        is_last_alone = torch.rand(len(is_target), 1, device=device) < self.config.last_share
        is_last_alone = is_last_alone | ~is_masked.any(dim=1, keepdim=True)
        return torch.where(is_last_alone, columns == last, is_masked)
