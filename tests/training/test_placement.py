import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from sidestep.training.placement import forward_precision, training_device


class Launch(Accelerator):
    """Accelerator as in a launch on GPUs, without a GPU."""

    num_processes = 1
    device = torch.device("cuda", 0)
    distributed_type = DistributedType.NO

    def __init__(self, **changes: object) -> None:
        for name, value in changes.items():
            setattr(self, name, value)


def test_auto_takes_the_accelerator_and_cpu_does_not():
    assert training_device(Launch(), "auto") == torch.device("cuda", 0)
    assert training_device(Launch(), "cpu") == torch.device("cpu")


def test_launches_that_cannot_be_served_are_refused():
    with pytest.raises(ValueError, match="2 processes on cuda"):
        training_device(Launch(num_processes=2), "cpu")
    with pytest.raises(ValueError, match="FSDP: checkpoints of sharded weights"):
        training_device(Launch(distributed_type=DistributedType.FSDP), "auto")


def test_precision_is_what_was_asked_for_and_plain_on_a_cpu():
    cpu = torch.device("cpu")
    assert forward_precision(cpu, "auto") == "fp32"
    assert forward_precision(cpu, "bf16") == "bf16"
    assert forward_precision(torch.device("cuda"), "fp32") == "fp32"
