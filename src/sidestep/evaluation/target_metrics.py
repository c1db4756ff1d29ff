"""The metrics of one target in results files, per user and as means."""

import numpy as np
from jaxtyping import Float, Int

from sidestep.metrics.ties import hit_rate, ndcg, reciprocal_rank

HIT_RATE_CUTOFFS = (1, 5, 10, 50)
NDCG_CUTOFFS = (5, 10)


def per_user_metrics(
    rank_before: Int[np.ndarray, " users"], num_tied: Int[np.ndarray, " users"], k: int
) -> dict[str, Float[np.ndarray, " users"]]:
    """Every metric of one target, per user, for lists of `k` items; MRR counts these k items."""
    values = {
        f"HR@{cutoff}": hit_rate(rank_before, num_tied, cutoff)
        for cutoff in HIT_RATE_CUTOFFS
        if cutoff <= k
    }
    for cutoff in NDCG_CUTOFFS:
        if cutoff <= k:
            values[f"NDCG@{cutoff}"] = ndcg(rank_before, num_tied, cutoff)
    values["MRR"] = reciprocal_rank(rank_before, num_tied, k)
    return values


def target_metrics(
    rank_before: Int[np.ndarray, " users"], num_tied: Int[np.ndarray, " users"], k: int
) -> dict[str, float]:
    """Means over users of `per_user_metrics`."""
    per_user = per_user_metrics(rank_before, num_tied, k)
    return {name: float(values.mean()) for name, values in per_user.items()}
