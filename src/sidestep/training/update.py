"""The update: one optimizer step on the shares that all processes have in its batches."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from sidestep.data.windows import WindowBatch
from sidestep.model.heads import ItemTable
from sidestep.precision import Precision
from sidestep.step import in_precision
from sidestep.training.config import AdaptivePrecisionConfig, TrainingConfig
from sidestep.training.layer_precision import AdaptivePrecision, Assignment
from sidestep.training.objective import Objective
from sidestep.training.optimizer import adamw, clip_gradients, load_optimizer, sparse_adam
from sidestep.training.placement import forward_precision
from sidestep.training.processes import Processes
from sidestep.training.sharing import Sharing, whole
from sidestep.training.tally import Tally

SPARSE_ROWS = 100_000
"""The longest table of items all of whose rows `auto` moves at every step."""


class Update:
    """The optimizers of an objective, and their steps.

    sharing: of the objective by the processes.
    parameters: the weights that learn; of sharded weights, the shards of this process.
    optimizers: AdamW, and SparseAdam where rows of items learn on their own.
    adaptive: the precisions of the layers; None where all compute in one precision.
    assigned: the precisions that the latest step chose; None if that step chose none.
    """

    def __init__(self, sharing: Sharing, config: TrainingConfig, processes: Processes) -> None:
        """Makes the optimizers.

        Args:
            sharing: of the objective, which declares the modules that are trained.
            config: how to train.
            processes: that share the steps.

        Raises:
            ValueError: the objective trains a weight of a module that it does not declare, or its
                loss reads all rows of items and `item_updates` is sparse; or `precision` is
                adaptive and no linear layer learns.
        """
        self.sharing, self._config, self._processes = sharing, config, processes
        objective = sharing.trained
        self.parameters = _declared(objective)
        self._tables = _sparse_tables(objective, config, processes.count)
        for table in self._tables:
            table.sparse = True
        rows = [table.weight for table in self._tables if table.weight is not None]
        factors = objective.learning_rate_factors
        self.optimizers: list[Optimizer] = [
            adamw(
                objective,
                weight_decay=config.weight_decay,
                betas=config.betas,
                rate_factors=factors,
                leave_out=rows,
            )
        ]
        if rows:
            self.optimizers.append(
                sparse_adam(objective, rows, betas=config.betas, rate_factors=factors)
            )
        self._precision = forward_precision(processes.device, config.precision)
        self.adaptive: AdaptivePrecision | None = None
        self.assigned: Assignment | None = None
        if self._precision == "adaptive":
            self.adaptive = AdaptivePrecision(
                objective,
                config.adaptive_precision or AdaptivePrecisionConfig(),
                processes.device,
                processes.sum,
            )

    def step(
        self, group: list[WindowBatch], tally: Tally, *, learning_rate: float
    ) -> Float[Tensor, ""]:
        """One optimizer step: the gradient of the mean over all targets of the group.

        Args:
            group: this process's share of each batch.
            tally: counts the losses.
            learning_rate: of this step.

        Returns:
            The norm of the gradient before clipping.
        """
        for optimizer in self.optimizers:
            for parameters in optimizer.param_groups:
                parameters["lr"] = learning_rate * parameters["rate_factor"]
        num_targets = sum(batch.num_batch_targets for batch in group)
        count = self._processes.count
        for batch in group:
            weight = 0 if batch.is_borrowed else batch.num_targets
            is_last = batch is group[-1]
            with contextlib.nullcontext() if is_last else self.sharing.accumulating():
                with self._in_precision(num_targets / count, is_counted=not batch.is_borrowed):
                    loss = self.sharing.loss(batch.to(self._processes.device))
                assert loss.num_targets == batch.num_targets, (
                    "the loss is a mean over other targets"
                )
                # Processes take the mean of their gradients; times their number it is the sum.
                (loss.loss * (weight * count / num_targets)).backward()  # type: ignore[no-untyped-call]
            tally.add_loss(loss, weight)
        grad_norm = clip_gradients(self.parameters, self._config.max_grad_norm or math.inf)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.sharing.trained.after_step()
        if self.adaptive is not None:
            self.assigned = self.adaptive.after_step(num_targets)
        return whole(grad_norm)

    @property
    def numbered_parameters(self) -> list[Tensor]:
        """The parameters of AdamW, in the order in which `state_dict` numbers them."""
        return [one for group in self.optimizers[0].param_groups for one in group["params"]]

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
        precision: Precision = "bf16" if self._precision == "bf16" else "fp32"
        return in_precision(self._processes.device, precision)

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
    is_shared = num_processes > 1 or config.sharding == "full"
    if config.item_updates == "dense" or is_shared:
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
