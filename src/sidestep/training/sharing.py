"""Sharing: how the processes of a training share the weights of an objective and the gradients.

Here each process keeps all weights. `fully_sharded.py` has weights in shards.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sidestep.data.windows import WindowBatch
from sidestep.training.checkpoint import Weights, weights_on_cpu
from sidestep.training.objective import Loss, Objective
from sidestep.training.processes import Processes


class Sharing(ABC):
    """An objective that several processes train.

    After the last pass of a step, each gradient is the mean of the gradients of all processes.

    trained: the objective whose parameters the optimizer moves. In the caller's objective, `home`,
        the weights are whole.
    """

    def __init__(self, home: Objective, trained: Objective) -> None:
        self.home, self.trained = home, trained

    @abstractmethod
    def loss(self, batch: WindowBatch) -> Loss:
        """The loss of this process's share of a batch that lies on its device."""
        ...

    @abstractmethod
    def accumulating(self) -> AbstractContextManager[None]:
        """A block whose gradients stay with this process until those of a later pass are shared."""
        ...

    @abstractmethod
    def weights(self) -> Weights:
        """A copy of the weights: whole ones on the CPU, or this process's shards on its device."""
        ...

    @abstractmethod
    def bring_home(self) -> None:
        """Puts the weights as they are now into the caller's objective, on the device."""
        ...

    @contextmanager
    def at_home(self) -> Iterator[Objective]:
        """A block with the weights as they are now in the caller's objective, on the device."""
        self.bring_home()
        yield self.home

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Puts weights back that `weights` gave."""
        self.trained.load_state_dict(dict(weights))


class Alone(Sharing):
    """One process, which keeps all of its gradients."""

    def __init__(self, objective: Objective, processes: Processes) -> None:
        super().__init__(objective, objective.to(processes.device))

    def loss(self, batch: WindowBatch) -> Loss:
        """See `Sharing.loss`."""
        loss: Loss = self.trained(batch)
        return loss

    def accumulating(self) -> AbstractContextManager[None]:
        """See `Sharing.accumulating`."""
        return nullcontext()

    def weights(self) -> Weights:
        """See `Sharing.weights`."""
        return weights_on_cpu(self.trained)

    def bring_home(self) -> None:
        """See `Sharing.bring_home`; they are there."""


class Replicated(Alone):
    """Each process keeps all weights: `DistributedDataParallel`."""

    def __init__(self, objective: Objective, processes: Processes) -> None:
        super().__init__(objective, processes)
        on_gpu = processes.device.type == "cuda"
        self._module = DistributedDataParallel(
            objective,
            device_ids=[processes.device] if on_gpu else None,
            gradient_as_bucket_view=True,  # or each gradient would lie in memory twice
        )

    def loss(self, batch: WindowBatch) -> Loss:
        """See `Sharing.loss`."""
        loss: Loss = self._module(batch)
        return loss

    def accumulating(self) -> AbstractContextManager[None]:
        """See `Sharing.accumulating`."""
        unshared: AbstractContextManager[None] = self._module.no_sync()
        return unshared


def refuse_undivided(objective: Objective, num_processes: int) -> None:
    """Raises a `ValueError` where several processes cannot share the batches of an objective."""
    term = objective.whole_batch_term
    if num_processes > 1 and term is not None:
        raise ValueError(
            f"{num_processes} processes cannot share the batches of this training: {term}. Or "
            "train in one process, without torchrun."
        )


def whole(weights: Tensor) -> Tensor:
    """The whole of a tensor of which each process may have a shard; every process calls this."""
    gathered: Tensor = weights.full_tensor() if hasattr(weights, "full_tensor") else weights
    return gathered
