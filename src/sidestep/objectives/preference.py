"""Preference losses: the item that came next against other candidates."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


def softmax_dpo_loss(
    chosen: Float[Tensor, " users"],
    rejected: Float[Tensor, "users candidates"],
    is_rejected: Bool[Tensor, "users candidates"],
    *,
    beta: float,
) -> Float[Tensor, " users"]:
    """Softmax DPO loss: low if the policy prefers the chosen item to every rejected item.

        -log σ(-log Σ_d exp(β (r_d - r_c)))

    r is log π / π_ref of a whole semantic ID. Source: S-DPO (arXiv:2406.09215, eq. 8). With one
    rejected candidate, it is DPO (arXiv:2305.18290, eq. 7). The loss is 0 for a user without
    rejected candidates.

    Args:
        chosen: r of the item that came next.
        rejected: r of the rejected candidates.
        is_rejected: False at padding.
        beta: weight of a log-ratio.
    """
    gaps = (beta * (rejected - chosen[:, None])).masked_fill(~is_rejected, -torch.inf)
    has_any = is_rejected.any(dim=1)
    gaps = torch.where(has_any[:, None], gaps, 0.0)  # the gradient of a row of -inf is NaN
    losses = -functional.logsigmoid(-gaps.logsumexp(dim=1))
    return torch.where(has_any, losses, 0.0)
