"""What PyTorch's counter says that a call takes."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@torch.enable_grad()  # without, the counter stumbles over views of parameters
def counted_flops(call: Callable[[], Any]) -> tuple[int, Any]:
    """FLOPs of a call, and what it returned.

    Attention is computed by plain products, which the counter knows on every device; it counts
    masked columns as if they were seen.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        result = call()
    return counter.get_total_flops(), result
