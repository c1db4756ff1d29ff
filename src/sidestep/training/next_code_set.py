"""Supervised training over sets of codes: the next item's codes, in an order drawn anew."""

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.data.windows import WindowBatch
from sidestep.model.code_set_model import CodeSetModel
from sidestep.objectives.code_sets import (
    code_masses,
    codebook_cross_entropies,
    codebook_soft_cross_entropies,
    mean_over_open,
    open_codebooks,
)
from sidestep.objectives.weighting import mean_over_targets
from sidestep.training.item_loss import ItemTargets
from sidestep.training.objective import DrawingObjective, Loss
from sidestep.training.objective_config import NextCodeSetConfig
from sidestep.training.supervised_codes import SupervisedCodesObjective


class NextCodeSetObjective(SupervisedCodesObjective, DrawingObjective):
    """Cross-entropy of the codes of all open codebooks, summed over steps.

    Every target draws an order of its codebooks, and the first `learned_steps` codes of this order
    are learned. The loss of a step is the mean over the codebooks that are open. An item head may
    learn beside the codes, and may teach them.

    Source: REG4Rec (arXiv:2508.15308, eq. 6) for the loss of the codes.
    """

    def __init__(
        self,
        model: CodeSetModel,
        config: NextCodeSetConfig,
        *,
        categories: Int[Tensor, " items"] | None = None,
    ) -> None:
        """Takes the network that is trained.

        Args:
            model: the network.
            config: see `NextCodeSetConfig`.
            categories: see `SupervisedCodesObjective`.

        Raises:
            ValueError: an item head without `item_weight`, or `item_weight` without an item head;
                more steps than codebooks; items choose codes; or see `SupervisedCodesObjective`.
        """
        super().__init__(
            model,
            config,
            categories=categories,
            space=lambda: SetSpace.of_codes(model.semantic_ids.cpu(), model.codebook_sizes),
        )
        if config.learned_steps is not None and config.learned_steps > model.num_levels:
            raise ValueError(
                f"learned_steps is {config.learned_steps}, but there are {model.num_levels} "
                "codebooks; set it to at most as many."
            )
        if model.set_items is not None:
            raise ValueError(
                "last_code_head is items, and this loss teaches rows of codes; train with "
                "last_code_head: codes, and let items choose by 'sidestep align --recipe tree'."
            )
        self.config = config

    def after_steps(self, number: int) -> None:
        """See `SupervisedCodesObjective.after_steps`; the orders are drawn by the step."""
        self.num_steps.fill_(number)

    @property
    def network(self) -> CodeSetModel:
        """The network that is trained."""
        assert isinstance(self.model, CodeSetModel)
        return self.model

    def forward(self, batch: WindowBatch) -> Loss:
        """See `Objective.forward`; parts: each step's loss, and those of the heads."""
        model, config = self.network, self.config
        users, positions = batch.is_target.nonzero(as_tuple=True)
        drawn = self._orders(batch.items)
        states = model.set_states(batch.histories, drawn)[users, positions]
        orders, items = drawn[users, positions], batch.items[users, positions]
        weights = batch.weights_of(users, positions)
        logits = model.code_logits(states)
        codes = model.item_codes(items)
        is_open = open_codebooks(orders, model.num_levels)
        hard = codebook_cross_entropies(
            logits, codes, model.codebook_sizes, label_smoothing=config.label_smoothing
        )
        steps = mean_over_targets(mean_over_open(hard, is_open), weights)
        loss = steps.sum()
        parts = {f"step_{number}": part.detach() for number, part in enumerate(steps, start=1)}
        loss, parts = self.with_categories(loss, parts, states, items, weights)
        if self.item_loss is None:
            return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)
        of_items = self.item_loss(
            ItemTargets(
                states=states[:, 0],
                histories=batch.before(users, positions),
                items=items,
                windows=users,
                weights=weights,
                found=self.found_items(batch),
                elsewhere=batch.other_targets,
            )
        )
        assert config.item_weight is not None
        loss = loss + config.item_weight * of_items.loss
        parts["item"] = of_items.loss.detach()
        if config.distillation_weight is not None:
            assert of_items.item_shares is not None, "the configuration refuses a chunked loss"
            shares = of_items.item_shares()
            masses = code_masses(
                shares.probs,
                model.item_codes(shares.items),
                model.codebook_sizes,
                codes,
                orders,
            )
            soft = codebook_soft_cross_entropies(logits, masses, model.codebook_sizes)
            distilled = mean_over_targets(mean_over_open(soft, is_open), weights).sum()
            loss = loss + config.distillation_weight * distilled
            parts["distillation"] = distilled.detach()
        return Loss(loss=loss, num_targets=batch.num_targets, parts=parts)

    def _orders(self, items: Int[Tensor, "users items"]) -> Int[Tensor, "users items steps"]:
        """The first codebooks of a random order for each item of the windows."""
        steps = self.config.learned_steps or self.model.num_levels
        # The draws depend on the step alone, so that a resumed run draws the same.
        generator = torch.Generator().manual_seed(int(self.num_steps))
        keys = torch.rand(*items.shape, self.model.num_levels, generator=generator)
        return keys.argsort(dim=2)[..., :steps].to(items.device)
