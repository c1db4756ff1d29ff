"""Placement: on which device a run trains, and in which precision it computes."""

from typing import Literal

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType

from sidestep.training.config import PrecisionChoice

Precision = Literal["fp32", "bf16", "adaptive"]


def is_main_process() -> bool:
    """Whether this process writes and speaks for all that were launched together."""
    return bool(PartialState().is_main_process)


def training_device(accelerator: Accelerator, wanted: Literal["auto", "cpu"]) -> torch.device:
    """The device of this process; `auto` takes the accelerator there is.

    Raises:
        ValueError: if the launch of several processes cannot be served.
    """
    device = accelerator.device if wanted == "auto" else torch.device(wanted)
    assert isinstance(device, torch.device)
    if accelerator.num_processes > 1 and device.type != accelerator.device.type:
        raise ValueError(
            f"device: {wanted} with {accelerator.num_processes} processes on "
            f"{accelerator.device.type}: launch them with `accelerate launch --cpu`."
        )
    sharded = {DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM}
    if accelerator.distributed_type in sharded:
        raise ValueError(
            f"{accelerator.distributed_type.value}: checkpoints of sharded weights are not "
            "supported; launch plain data parallel (MULTI_GPU or MULTI_CPU)."
        )
    return device


def forward_precision(device: torch.device, wanted: PrecisionChoice) -> Precision:
    """The precision of the forward pass; `auto` is bf16 on a GPU that has it, fp32 elsewhere."""
    if wanted != "auto":
        return wanted
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bf16" if has_bf16 else "fp32"
