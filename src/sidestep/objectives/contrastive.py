"""Contrastive losses: the target among others."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def info_nce(
    positives: Float[Tensor, " targets"], negatives: Float[Tensor, "targets negatives"]
) -> Float[Tensor, " targets"]:
    """InfoNCE without a temperature, in nats: -log of the target's share of Σ exp.

        L = -log( e^y⁺ / (e^y⁺ + Σ_i e^y⁻_i) )

    Source: PROMISE (arXiv:2601.04674), sec. 3.2.3. A negative of -inf is none.
    """
    every = torch.cat([positives[:, None], negatives], dim=1)
    return every.logsumexp(dim=1) - positives


def distinct_others(own: Int[Tensor, " rows"], size: int, number: int) -> Int[Tensor, "rows drawn"]:
    """For each row different numbers below `size` that are not its own, drawn uniformly.

    Drawn from torch's own generator. Memory grows with rows × size unless all are taken.

    Args:
        own: what is left out, per row.
        size: how many numbers there are.
        number: how many to draw; fewer are drawn, and then all, where there are not as many.
    """
    number = min(number, size - 1)
    if number == size - 1:
        drawn = torch.arange(number, device=own.device).expand(len(own), -1)
    else:
        keys = torch.rand(len(own), size - 1, device=own.device)
        drawn = keys.topk(number, dim=1, sorted=False).indices
    # Among size - 1 numbers, those from `own` on stand for the next ones.
    return drawn + (drawn >= own[:, None])


def share_below(
    positives: Float[Tensor, " targets"], negatives: Float[Tensor, "targets negatives"]
) -> Float[Tensor, " targets"]:
    """The share of the negatives that score less, ties half: the area under each ROC curve.

    A negative of -inf is none; NaN where there are no others.
    """
    below = (negatives < positives[:, None]).float() + 0.5 * (negatives == positives[:, None])
    is_one = negatives > -torch.inf
    return (below * is_one).sum(dim=1) / is_one.sum(dim=1)
