"""Statistics: confidence intervals of means over rows, and tests that compare two recommenders.

Intervals and tests resample users with a seeded generator; no distribution is assumed. The rows of
one user are not independent, so a user is always drawn or flipped with all its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_CHUNK_ENTRIES = 1 << 22
"""Number of resampled users in memory at once. It bounds memory and changes no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval, in the unit of the averaged values."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """Difference of two recommenders on the same rows, with its test.

    difference: mean over rows of first - second.
    p_value: two-sided p-value of the hypothesis that swapping the two recommenders for any user
        changes nothing.
    interval: bootstrap interval of the difference.
    """

    difference: float
    p_value: float
    interval: Interval


def numbered(user_ids: Sequence[str]) -> Int[np.ndarray, " rows"]:
    """Numbers the user of each row: all rows of a user have the same number."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(user, len(numbers)) for user in user_ids], dtype=np.int64)


def bootstrap_interval(
    values: Float[np.ndarray, " rows"],
    *,
    users: Int[np.ndarray, " as_many"] | None = None,
    seed: int,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of the mean over rows.

    Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; for several
    rows of a user, the first strategy of Davison & Hinkley, Bootstrap Methods and their Application
    (1997), section 3.8: draw users and keep their rows unchanged.

    Args:
        values: one number per row.
        users: number of each row's user, see `numbered`; None if every row has another user.
        seed: seed of the resamples. Equal seeds and numbers of users give the same draws, so the
            intervals of several metrics use the same resamples.
        num_resamples: number of resamples. Each draws as many users as there are, with replacement.
        confidence: share of the resampled means inside the interval.
    """
    _check_values(values)
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}.")
    _check_resamples(num_resamples)
    sums, num_rows = _by_user(values, users)
    generator = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    for chunk in _chunks(num_resamples, len(sums)):
        size = (chunk.stop - chunk.start, len(sums))
        drawn = generator.integers(len(sums), size=size, dtype=np.int32)
        num_drawn = len(values) if num_rows is None else num_rows[drawn].sum(axis=1)
        means[chunk] = sums[drawn].sum(axis=1) / num_drawn
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(low=float(low), high=float(high))


def paired_permutation_test(
    first: Float[np.ndarray, " rows"],
    second: Float[np.ndarray, " same_rows"],
    *,
    users: Int[np.ndarray, " as_many"] | None = None,
    seed: int,
    num_resamples: int = 10_000,
    confidence: float = 0.95,
) -> PairedTest:
    """Sign-flip test of equal means on paired rows.

        p = (1 + #{resamples with |mean(± d)| >= |mean(d)|}) / (1 + num_resamples)

    d is first - second. All rows of a user get the same sign. The 1 counts the observed
    arrangement, so p is never 0. Source: Good, Permutation Tests (2000), section 3.2.

    Args:
        first: one number per row; with several seeds, the mean of the row over seeds.
        second: numbers of the same rows in the same order.
        users: number of each row's user, as in `bootstrap_interval`.
        seed: seed of the flips, and of the resamples of the interval.
        num_resamples: number of drawn flips. The smallest p-value is 1 / (1 + num_resamples).
        confidence: confidence of the interval, see `bootstrap_interval`.
    """
    if len(first) != len(second):
        raise ValueError(f"pairs need the same users, got {len(first)} and {len(second)}.")
    _check_resamples(num_resamples)
    differences = first - second
    interval = bootstrap_interval(differences, users=users, seed=seed, confidence=confidence)
    generator = np.random.default_rng(seed)
    # Flipping a difference of 0 changes nothing.
    sums, _ = _by_user(differences, users)
    moved = sums[sums != 0.0]
    observed = abs(moved.sum())
    # Flips that tie with the observed sum must count, although their terms are added in another
    # order.
    threshold = observed - 1e-9 * np.abs(moved).sum()
    num_extreme = 0
    for chunk in _chunks(num_resamples, max(len(moved), 1)):
        signs = generator.integers(2, size=(chunk.stop - chunk.start, len(moved)), dtype=np.int8)
        # Sum with flips = sum over the users that are kept - sum over the users that are flipped.
        flipped = 2.0 * (signs @ moved) - moved.sum()
        num_extreme += int((np.abs(flipped) >= threshold).sum())
    return PairedTest(
        difference=float(differences.mean()),
        p_value=(1 + num_extreme) / (1 + num_resamples),
        interval=interval,
    )


def _by_user(
    values: Float[np.ndarray, " rows"], users: Int[np.ndarray, " as_many"] | None
) -> tuple[Float[np.ndarray, " users"], Int[np.ndarray, " users"] | None]:
    """Sum of each user, and its number of rows; None instead of the numbers if all are 1."""
    if users is not None:
        if len(users) != len(values):
            raise ValueError(f"{len(values)} rows need as many users, got {len(users)}.")
        _, user_of_row, num_rows = np.unique(users, return_inverse=True, return_counts=True)
        if len(num_rows) < len(values):
            return np.bincount(user_of_row, weights=values), num_rows
    return values, None


def _chunks(num_resamples: int, num_users: int) -> list[slice]:
    step = max(1, _CHUNK_ENTRIES // num_users)
    return [
        slice(start, min(start + step, num_resamples)) for start in range(0, num_resamples, step)
    ]


def _check_values(values: Float[np.ndarray, " rows"]) -> None:
    if len(values) == 0:
        raise ValueError("there are no users to resample.")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite: drop or explain the users that have none.")


def _check_resamples(num_resamples: int) -> None:
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, got {num_resamples}.")
