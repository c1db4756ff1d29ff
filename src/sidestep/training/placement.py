"""Placement: in which precision a run computes on its device."""

from typing import Literal

import torch

from sidestep.training.config import PrecisionChoice

Precision = Literal["fp32", "bf16", "adaptive"]


def forward_precision(device: torch.device, wanted: PrecisionChoice) -> Precision:
    """The precision of the forward pass; `auto` is bf16 on a GPU that has it, fp32 elsewhere."""
    if wanted != "auto":
        return wanted
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bf16" if has_bf16 else "fp32"
