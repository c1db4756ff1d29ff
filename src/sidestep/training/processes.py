"""The processes that share a training: which one this is, and how they agree.

`launch.py` says what a launcher told this process, `sharing.py` how the processes share weights and
gradients.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
from torch import Tensor, distributed

from sidestep.data.windows import Share
from sidestep.launch import Launch

T = TypeVar("T")

_PATIENCE = timedelta(hours=12)
"""The longest wait for another process, such as one that validates. A launcher ends the others at
once where a process is gone."""

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """The processes of a training. Every process calls every method at the same place.

    index: of this process, from 0.
    count: of the processes.
    device: of this process.
    """

    index: int = 0
    count: int = 1
    device: torch.device = _CPU

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.index == 0

    @property
    def share(self) -> Share:
        """The share of this process in each batch."""
        return Share(index=self.index, count=self.count)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of the tensors of all processes."""
        if self.count == 1:
            return tensor
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    def largest(self, number: int) -> int:
        """The largest of the numbers of all processes; no device is waited for."""
        if self.count == 1:
            return number
        numbers = torch.tensor(number)
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
        return int(numbers)

    def of_first(self, value: T) -> T:
        """The value of the first process."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, device=_CPU)
        return values[0]

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        if self.count == 1:
            return [value]
        values: list[T | None] = [None] * self.count
        distributed.all_gather_object(values, value)
        return [each for each in values if each is not None]

    def wait(self) -> None:
        """Waits until every process is here."""
        self.largest(0)


@contextmanager
def joined(wanted: Literal["auto", "cpu"]) -> Iterator[Processes]:
    """The processes of the launch, connected until the end of the block.

    A block within such a block has the same processes.

    Args:
        wanted: the device; `auto` takes the accelerator there is.

    Raises:
        ValueError: there are fewer accelerators on this machine than processes.
        ConnectionError: another process ended within the block.
    """
    launch = Launch.of_environment()
    device = training_device(launch, wanted)
    processes = Processes(index=launch.index, count=launch.count, device=device)
    if not launch.is_shared or distributed.is_initialized():
        yield processes
        return
    try:
        distributed.init_process_group(_backend(device), timeout=_PATIENCE)
        yield processes
    except RuntimeError as error:
        if not _is_of_connection(error):
            raise
        raise ConnectionError(
            "another process of this launch has ended, so this one cannot go on; the reason stands "
            "in the output of that process. The same command continues from the newest checkpoint."
        ) from error
    distributed.destroy_process_group()


def training_device(launch: Launch, wanted: Literal["auto", "cpu"]) -> torch.device:
    """The device of this process; `auto` takes the accelerator there is.

    Raises:
        ValueError: there are fewer accelerators on this machine than processes.
    """
    if wanted == "cpu" or not torch.accelerator.is_available():
        return _CPU
    kind = torch.accelerator.current_accelerator()
    assert kind is not None, "an accelerator is available"
    if not launch.is_shared:
        return torch.device(kind.type, torch.accelerator.current_device_index())
    number = torch.accelerator.device_count()
    if launch.local_index >= number:
        raise ValueError(
            f"process {launch.local_index + 1} of this machine finds {number} devices of type "
            f"{kind.type}: start at most {number} processes on a machine (--nproc-per-node), or "
            "set training.device to cpu."
        )
    torch.accelerator.set_device_index(launch.local_index)
    return torch.device(kind.type, launch.local_index)


def _backend(device: torch.device) -> str:
    """The ways in which tensors travel; numbers of the processor never wait for a GPU."""
    return "gloo" if device.type != "cuda" else "cpu:gloo,cuda:nccl"


_GONE = ("gloo", "connection closed by peer", "connection reset by peer", "connection refused")


def _is_of_connection(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone, in torch's words."""
    words = str(error).lower()
    return isinstance(error, distributed.DistError) or any(each in words for each in _GONE)
