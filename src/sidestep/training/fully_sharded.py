"""Sharing of sharded weights: each process keeps its part of each weight, by FSDP2."""

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from sidestep.data.windows import WindowBatch
from sidestep.model.hstu import HstuLayer
from sidestep.model.layers import SwiGLU
from sidestep.model.ligr import LigrLayer
from sidestep.training.checkpoint import Weights
from sidestep.training.masked_item import MaskedItemObjective
from sidestep.training.next_code import NextCodeObjective
from sidestep.training.next_item import NextItemObjective
from sidestep.training.objective import Loss, Objective
from sidestep.training.processes import Processes
from sidestep.training.sharing import Sharing, whole

_ONE_PASS = (NextItemObjective, MaskedItemObjective, NextCodeObjective)
"""The objectives that call each layer of their network once."""

_PARTS = (SwiGLU, HstuLayer, LigrLayer)
"""Classes of modules that a network calls as a whole, and whose weights nothing else reads."""


class Sharded(Sharing):
    """Each process keeps a shard of each weight, of its gradient and of its moments: FSDP2.

    Weights are gathered for each pass and given back after it: those of a part (see `parts_of`) for
    the pass of the part, all others for the pass of the objective. Shards are of a copy of the
    objective. The caller's objective gets whole weights only when these are needed, and
    waits on the CPU until then.
    """

    def __init__(self, objective: Objective, processes: Processes) -> None:
        """Copies the objective and shards the copy.

        Raises:
            ValueError: the objective renews copies of weights.
        """
        renewed = [name for name, one in objective.copies.items() if one.every_steps is not None]
        if renewed:
            raise ValueError(
                f"sharding is full, but {type(objective).__name__} renews the copy {renewed[0]} of "
                "its weights; set training.sharding to none."
            )
        super().__init__(objective, copy.deepcopy(objective).to(processes.device))
        self._device = processes.device
        self._module = _Tensors(self.trained)
        mesh = init_device_mesh(processes.device.type, (processes.count,))
        for part in parts_of(self.trained):
            fully_shard(part, mesh=mesh)
        sharded = fully_shard(self._module, mesh=mesh)
        assert isinstance(sharded, FSDPModule)
        self._sharded = sharded

    def loss(self, batch: WindowBatch) -> Loss:
        """See `Sharing.loss`."""
        loss, num_targets, parts = self._module(batch)
        return Loss(loss=loss, num_targets=num_targets, parts=parts)

    def accumulating(self) -> AbstractContextManager[None]:
        """See `Sharing.accumulating`: each pass adds to the shards, since whole gradients that wait
        for the last pass would need the memory that sharding spares."""
        return nullcontext()

    def weights(self) -> Weights:
        """See `Sharing.weights`."""
        return {name: one.detach().clone() for name, one in self.trained.state_dict().items()}

    def bring_home(self) -> None:
        """See `Sharing.bring_home`."""
        self.home.load_state_dict(
            {name: whole(weights).cpu() for name, weights in self.trained.state_dict().items()}
        )
        self.home.to(self._device)

    @contextmanager
    def at_home(self) -> Iterator[Objective]:
        """See `Sharing.at_home`; the objective leaves the device after the block."""
        with super().at_home() as home:
            yield home
        home.cpu()


def parts_of(objective: Objective) -> list[nn.Module]:
    """The parts of an objective whose weights are gathered apart from others, inner parts first.

    A part is called as a whole. And each pass of the objective calls it as often in all processes,
    or they would wait for each other forever: so an objective that searches has no parts.
    """
    if type(objective) not in _ONE_PASS:
        return []
    names = {
        name
        for module in objective.modules()
        for name in getattr(module, "_no_split_modules", None) or ()  # of Hugging Face networks
    }
    found = [
        module
        for module in objective.modules()
        if isinstance(module, _PARTS) or type(module).__name__ in names
    ]
    return found[::-1]


class _Tensors(nn.Module):
    """An objective whose output FSDP can search for tensors with gradients."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, batch: WindowBatch) -> tuple[Tensor, int, dict[str, Tensor]]:
        """The fields of the `Loss`."""
        loss: Loss = self.objective(batch)
        return loss.loss, loss.num_targets, loss.parts
