"""FLOPs of a call, counted by PyTorch."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@torch.enable_grad()  # without gradients, the counter fails on views of parameters
def counted_flops(call: Callable[[], Any]) -> tuple[int, Any]:
    """Counts the FLOPs of a call. Returns them and the result of the call.

    Attention is computed by plain matrix products, which the counter knows on every device. The
    counter counts masked columns too.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        result = call()
    return counter.get_total_flops(), result
