"""How sure a mean over users is, and whether two recommenders differ.

Both answers come from resampling users with a seeded generator; no distribution is assumed.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_CHUNK_ENTRIES = 1 << 22
"""Resampled users held at once; bounds memory, changes no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval; in the unit of what was averaged."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """How much better the first recommender is than the second, on the same users.

    difference: mean over users of first - second.
    p_value: two-sided, of the hypothesis that swapping the two for any user changes nothing.
    interval: a bootstrap interval of the difference.
    """

    difference: float
    p_value: float
    interval: Interval


def bootstrap_interval(
    values: Float[np.ndarray, " users"],
    *,
    seed: int,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """The percentile bootstrap interval of the mean over users.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.

    Args:
        values: one number per user.
        seed: decides the resamples; the same seed and number of users draws the same users, so
            that intervals of several metrics rest on the same resamples.
        num_resamples: draws of as many users, with replacement.
        confidence: the share of resampled means inside the interval.
    """
    _check_values(values)
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}.")
    _check_resamples(num_resamples)
    generator = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    for rows in _chunks(num_resamples, len(values)):
        size = (rows.stop - rows.start, len(values))
        drawn = generator.integers(len(values), size=size, dtype=np.int32)
        means[rows] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(low=float(low), high=float(high))


def paired_permutation_test(
    first: Float[np.ndarray, " users"],
    second: Float[np.ndarray, " same_users"],
    *,
    seed: int,
    num_resamples: int = 10_000,
    confidence: float = 0.95,
) -> PairedTest:
    """The sign-flip test of equal means on paired users.

        p = (1 + #{resamples with |mean(± d)| >= |mean(d)|}) / (1 + num_resamples)

    d is first - second. Source: Good, Permutation Tests (2000), section 3.2; the 1 counts the
    observed arrangement, so p is never 0.

    Args:
        first: one number per user; with several seeds, the user's mean over them.
        second: the same users in the same order.
        seed: decides the flips, and the resamples of the interval.
        num_resamples: flips drawn; the smallest p-value is 1 / (1 + num_resamples).
        confidence: of the interval, see `bootstrap_interval`.
    """
    if len(first) != len(second):
        raise ValueError(f"pairs need the same users, got {len(first)} and {len(second)}.")
    _check_resamples(num_resamples)
    differences = first - second
    interval = bootstrap_interval(differences, seed=seed, confidence=confidence)
    generator = np.random.default_rng(seed)
    # Users without a difference flip to themselves.
    moved = differences[differences != 0.0]
    observed = abs(moved.sum())
    # Flips that tie with the observed sum must count, although they are added in another order.
    threshold = observed - 1e-9 * np.abs(moved).sum()
    num_extreme = 0
    for rows in _chunks(num_resamples, max(len(moved), 1)):
        signs = generator.integers(2, size=(rows.stop - rows.start, len(moved)), dtype=np.int8)
        # The sum with flips = sum over the kept - sum over the flipped.
        sums = 2.0 * (signs @ moved) - moved.sum()
        num_extreme += int((np.abs(sums) >= threshold).sum())
    return PairedTest(
        difference=float(differences.mean()),
        p_value=(1 + num_extreme) / (1 + num_resamples),
        interval=interval,
    )


def _chunks(num_resamples: int, num_users: int) -> list[slice]:
    step = max(1, _CHUNK_ENTRIES // num_users)
    return [
        slice(start, min(start + step, num_resamples)) for start in range(0, num_resamples, step)
    ]


def _check_values(values: Float[np.ndarray, " users"]) -> None:
    if len(values) == 0:
        raise ValueError("there are no users to resample.")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite: drop or explain the users that have none.")


def _check_resamples(num_resamples: int) -> None:
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, got {num_resamples}.")
