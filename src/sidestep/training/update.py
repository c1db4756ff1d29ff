"""The update: one optimizer step on the batches of all devices."""

import contextlib
import math

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from sidestep.data.windows import WindowBatch
from sidestep.training.config import TrainingConfig
from sidestep.training.objective import Objective
from sidestep.training.optimizer import adamw
from sidestep.training.placement import forward_precision
from sidestep.training.tally import Tally


class Update:
    """The optimizer of an objective, and its steps."""

    def __init__(
        self,
        accelerator: Accelerator,
        objective: Objective,
        config: TrainingConfig,
        device: torch.device,
    ) -> None:
        """Moves the objective to the device, and wraps it for the launch.

        Args:
            accelerator: of the launch.
            objective: declares the modules that are trained.
            config: how to train.
            device: of this process.

        Raises:
            ValueError: the objective trains a weight of a module that it does not declare.
        """
        self._accelerator, self._config, self._device = accelerator, config, device
        self._bare = objective.to(device)
        self.parameters = _declared(objective)
        self.objective, self.optimizer = accelerator.prepare(
            objective,
            adamw(
                objective,
                weight_decay=config.weight_decay,
                betas=config.betas,
                rate_factors=objective.learning_rate_factors,
            ),
            device_placement=[False, False],
        )
        self._precision = forward_precision(device, config.precision)

    def step(
        self, group: list[WindowBatch], tally: Tally, *, learning_rate: float
    ) -> Float[Tensor, ""]:
        """One optimizer step: the gradient of the mean over all targets of the group.

        Args:
            group: the batches of all devices.
            tally: counts the losses.
            learning_rate: of this step.

        Returns:
            The norm of the gradient before clipping.
        """
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = learning_rate * parameters["rate_factor"]
        num_targets = sum(batch.num_targets for batch in group)
        processes = self._accelerator.num_processes
        mine = group[self._accelerator.process_index :: processes]
        num_rounds = math.ceil(len(group) / processes)
        for index in range(num_rounds):
            # All processes go through as many passes; one that has run out of batches repeats
            # any batch with weight zero.
            has_own = index < len(mine)
            batch = mine[index] if has_own else group[0]
            weight = batch.num_targets if has_own else 0
            is_last = index == num_rounds - 1
            with contextlib.nullcontext() if is_last else self._accelerator.no_sync(self.objective):
                with torch.autocast(self._device.type, torch.bfloat16, self._precision == "bf16"):
                    loss = self.objective(batch.to(self._device))
                assert loss.num_targets == batch.num_targets, (
                    "the loss is a mean over other targets"
                )
                # Devices take the mean of their gradients; times their number it is the sum.
                self._accelerator.backward(loss.loss * (weight * processes / num_targets))
            tally.add_loss(loss, weight)
        grad_norm = torch.nn.utils.clip_grad_norm_(
            self.parameters, self._config.max_grad_norm or math.inf
        )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._bare.after_step()
        return grad_norm


def _declared(objective: Objective) -> list[Tensor]:
    """The weights that learn.

    Raises:
        ValueError: a weight that learns belongs to no module that the objective declares.
    """
    declared = {id(one) for module in objective.trained.values() for one in module.parameters()}
    learning = [(name, one) for name, one in objective.named_parameters() if one.requires_grad]
    for name, weights in learning:
        if id(weights) not in declared:
            raise ValueError(
                f"{type(objective).__name__}.trained declares no module with the weight {name}, "
                "which requires a gradient: declare its module, or call requires_grad_(False)."
            )
    return [weights for _, weights in learning]
