"""Weighting: means over targets of which some count more than others."""

from jaxtyping import Float
from torch import Tensor


def mean_over_targets(
    losses: Float[Tensor, "targets *rest"], weights: Float[Tensor, " targets"] | None
) -> Float[Tensor, "*rest"]:
    """The mean of the losses, each multiplied by the weight of its target.

        1/N Σ_n w_n L_n

    The divisor is the number of targets and not the sum of their weights. So a target of weight
    0.3 moves a network by 0.3 of what a target of weight 1 moves it by, whatever else is in the
    batch, and batches of different size add up by their numbers of targets.

    Args:
        losses: of the targets, which are the first axis.
        weights: of the targets. None: all weigh 1.
    """
    return weighted(losses, weights).mean(dim=0)


def weighted(
    losses: Float[Tensor, "targets *rest"], weights: Float[Tensor, " targets"] | None
) -> Float[Tensor, "targets *rest"]:
    """The losses, each multiplied by the weight of its target; None changes nothing."""
    if weights is None:
        return losses
    return losses * weights.view(-1, *[1] * (losses.ndim - 1))
