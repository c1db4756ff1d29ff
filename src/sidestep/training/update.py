"""The update: one optimizer step on the batches of all devices."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from sidestep.data.windows import WindowBatch
from sidestep.model.heads import ItemTable
from sidestep.training.config import AdaptivePrecisionConfig, TrainingConfig
from sidestep.training.layer_precision import AdaptivePrecision, Assignment
from sidestep.training.objective import Objective
from sidestep.training.optimizer import adamw, clip_gradients, load_optimizer, sparse_adam
from sidestep.training.placement import forward_precision
from sidestep.training.tally import Tally

SPARSE_ROWS = 100_000
"""The longest table of items all of whose rows `auto` moves at every step."""


class Update:
    """The optimizers of an objective, and their steps.

    objective: wrapped for the launch.
    parameters: the weights that learn.
    optimizers: AdamW, and SparseAdam where rows of items learn on their own.
    adaptive: the precisions of the layers; None where all compute in one precision.
    assigned: the precisions that the latest step chose; None if that step chose none.
    """

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
            ValueError: the objective trains a weight of a module that it does not declare, or its
                loss reads all rows of items and `item_updates` is sparse; or `precision` is
                adaptive and no linear layer learns.
        """
        self._accelerator, self._config, self._device = accelerator, config, device
        self._bare = objective.to(device)
        self.parameters = _declared(objective)
        self._tables = _sparse_tables(objective, config, accelerator.num_processes)
        for table in self._tables:
            table.sparse = True
        rows = [table.weight for table in self._tables if table.weight is not None]
        factors = objective.learning_rate_factors
        optimizers: list[Optimizer] = [
            adamw(
                objective,
                weight_decay=config.weight_decay,
                betas=config.betas,
                rate_factors=factors,
                leave_out=rows,
            )
        ]
        if rows:
            optimizers.append(
                sparse_adam(objective, rows, betas=config.betas, rate_factors=factors)
            )
        self.objective, *self.optimizers = accelerator.prepare(
            objective, *optimizers, device_placement=[False] * (1 + len(optimizers))
        )
        self._precision = forward_precision(device, config.precision)
        self.adaptive: AdaptivePrecision | None = None
        self.assigned: Assignment | None = None
        if self._precision == "adaptive":
            self.adaptive = AdaptivePrecision(
                self._bare,
                config.adaptive_precision or AdaptivePrecisionConfig(),
                device,
                self._over_processes,
            )

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
        for optimizer in self.optimizers:
            for parameters in optimizer.param_groups:
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
                with self._in_precision(num_targets / processes, is_counted=has_own):
                    loss = self.objective(batch.to(self._device))
                assert loss.num_targets == batch.num_targets, (
                    "the loss is a mean over other targets"
                )
                # Devices take the mean of their gradients; times their number it is the sum.
                self._accelerator.backward(loss.loss * (weight * processes / num_targets))
            tally.add_loss(loss, weight)
        grad_norm = clip_gradients(self.parameters, self._config.max_grad_norm or math.inf)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self._bare.after_step()
        if self.adaptive is not None:
            self.assigned = self.adaptive.after_step(num_targets)
        return grad_norm

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizers and of the precisions, for a checkpoint."""
        first, *rows = (optimizer.state_dict() for optimizer in self.optimizers)
        state = {**first, "rows": rows[0]} if rows else {**first}
        if self.adaptive is not None:
            state["precision"] = self.adaptive.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts optimizers and precisions back to where they were when their state was saved.

        Raises:
            KeyError: the state lacks the precisions of the layers.
            ValueError: the state is of other parameters, or lacks what the loop reads of a group.
        """
        if self.adaptive is not None:
            self.adaptive.load_state_dict(state["precision"])
        beside = {"rows", "precision"}
        others = {name: value for name, value in state.items() if name not in beside}
        saved = [others, *([state["rows"]] if "rows" in state else [])]
        if len(saved) != len(self.optimizers):
            raise ValueError(
                "its optimizer moves rows of items in another way, as with another item_updates or "
                "number of processes"
            )
        for optimizer, kept in zip(self.optimizers, saved, strict=True):
            load_optimizer(optimizer, kept)

    def _in_precision(
        self, scale: float, *, is_counted: bool
    ) -> contextlib.AbstractContextManager[None]:
        """A forward pass in the precision of the run; see `AdaptivePrecision.forward`."""
        if self.adaptive is not None:
            return self.adaptive.forward(scale=scale, is_counted=is_counted)
        return torch.autocast(self._device.type, torch.bfloat16, self._precision == "bf16")

    def _over_processes(self, summed: Tensor) -> Tensor:
        if self._accelerator.num_processes == 1:
            return summed
        total: Tensor = self._accelerator.reduce(summed, "sum")
        return total

    def close(self) -> None:
        """Gives the tables of items dense gradients again, which the next training expects."""
        for table in self._tables:
            table.sparse = False


def _sparse_tables(
    objective: Objective, config: TrainingConfig, num_processes: int
) -> list[ItemTable]:
    """The tables of items whose rows learn on their own.

    Raises:
        ValueError: none can, and `item_updates` is sparse.
    """
    tables = [
        table
        for table in objective.row_tables
        if table.weight is not None and table.weight.requires_grad
    ]
    if config.item_updates == "sparse":
        if not tables:
            raise ValueError(
                "item_updates is sparse, but there is no table of items of which the loss reads "
                "some rows only: set item_loss to sampled, or item_updates to auto. With "
                "model.last_code_head: items, a loss may read all rows."
            )
        if num_processes > 1:
            raise ValueError(
                f"item_updates is sparse, which {num_processes} processes cannot share: train in "
                "one process, or set item_updates to auto."
            )
        return tables
    if config.item_updates == "dense" or num_processes > 1:
        return []
    return [table for table in tables if _num_rows(table) > SPARSE_ROWS]


def _num_rows(table: ItemTable) -> int:
    return 0 if table.weight is None else len(table.weight)


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
