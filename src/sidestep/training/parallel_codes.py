"""Supervised training of a network that predicts all codes of the next item at once."""

from collections.abc import Mapping

import torch
from torch import nn

from sidestep.data.windows import WindowBatch
from sidestep.model.rpg import Rpg
from sidestep.objectives.weighting import mean_over_targets
from sidestep.training.next_item import targets_of
from sidestep.training.objective import Loss, Objective
from sidestep.training.objective_config import ParallelCodesConfig


class ParallelCodesObjective(Objective):
    """The negative log-likelihood of all codes of the next item, at every position.

        L = -1/N Σ_n Σ_j log p_j(c_nj)

    Source: the multi-token prediction loss of RPG (arXiv:2506.05781, eq. 1). The normaliser is that
    of each codebook: no other item is ever scored, so a step costs the same for any catalog.
    """

    def __init__(self, network: Rpg, config: ParallelCodesConfig) -> None:
        """Takes the network that is trained."""
        super().__init__()
        self.network = network
        self.config = config

    @property
    def whole_batch_term(self) -> str | None:
        """See `Objective.whole_batch_term`."""
        return None

    @property
    def trained(self) -> Mapping[str, nn.Module]:
        """See `Objective.trained`."""
        return {"network": self.network}

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`. Part: `codes` is the loss per codebook, without smoothing."""
        network, smoothing = self.network, self.config.label_smoothing
        histories, targets_at = targets_of(batch)
        targets = targets_at(network.states(histories))
        own = network.semantic_ids[targets.items].long()
        hits, means = [], []
        for logs, codes in zip(
            network.code_log_probs(targets.states), own.unbind(dim=1), strict=True
        ):
            hits.append(-logs.gather(1, codes[:, None])[:, 0])
            means.append(-logs.mean(dim=1))
        hit, spread = torch.stack(hits, dim=1), torch.stack(means, dim=1)
        losses = ((1 - smoothing) * hit + smoothing * spread).sum(dim=1)
        loss = mean_over_targets(losses, targets.weights)
        codes_loss = mean_over_targets(hit.detach().mean(dim=1), targets.weights)
        return Loss(loss=loss, num_targets=batch.num_targets, parts={"codes": codes_loss})
