"""Diversity: how far the distributions of several states of one history are apart."""

import torch
from jaxtyping import Float
from torch import Tensor


def step_diversity(
    scores: Float[Tensor, "targets steps outcomes"],
) -> Float[Tensor, " targets"]:
    """Mean divergence KL(p_i || p_j) over all ordered pairs of two steps, in nats.

        p_i = softmax(scores_i),   D = 1 / (S (S - 1)) Σ_(i ≠ j) Σ_v p_i(v) log( p_i(v) / p_j(v) )

    Source: ERL of ReaRec (arXiv:2503.22675). As in the authors' code, log p_j has no gradient: the
    divergence has no upper bound, and a step would lower the probability of what another step finds
    likely, without end. Our choice: the mean over pairs, so that the weight of D does not depend on
    the number of steps.

    Args:
        scores: unnormalised, of at least two steps.
    """
    num_steps = scores.shape[1]
    if num_steps < 2:
        raise ValueError(f"need the scores of at least 2 steps, got {num_steps}.")
    logs = scores.float().log_softmax(dim=-1)
    probs = logs.exp()
    own = (probs * logs).sum(dim=-1)  # [targets, steps]
    crossed = probs @ logs.detach().transpose(1, 2)  # [targets, steps i, steps j]
    divergence = own[..., None] - crossed
    # A step and itself: the divergence is 0, but its gradient is not, as half of it is detached.
    is_pair = ~torch.eye(num_steps, dtype=torch.bool, device=scores.device)
    return (divergence * is_pair).sum(dim=(1, 2)) / (num_steps * (num_steps - 1))
