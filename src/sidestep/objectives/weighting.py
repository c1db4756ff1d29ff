"""Weighting: means over weighted targets."""

from jaxtyping import Float
from torch import Tensor


def mean_over_targets(
    losses: Float[Tensor, "targets *rest"], weights: Float[Tensor, " targets"] | None
) -> Float[Tensor, "*rest"]:
    """Mean of the losses, each multiplied by the weight of its target.

        1/N Σ_n w_n L_n

    The divisor is the number of targets, not the sum of their weights. So the gradient of a target
    of weight 0.3 is 0.3 times that of a target of weight 1, whatever else is in the batch. And
    batches of different sizes add up by their numbers of targets.

    Args:
        losses: losses of the targets; the first axis is the targets.
        weights: weights of the targets. None: all weigh 1.
    """
    return weighted(losses, weights).mean(dim=0)


def weighted(
    losses: Float[Tensor, "targets *rest"], weights: Float[Tensor, " targets"] | None
) -> Float[Tensor, "targets *rest"]:
    """Multiplies each loss by the weight of its target. None changes nothing."""
    if weights is None:
        return losses
    return losses * weights.view(-1, *[1] * (losses.ndim - 1))
