"""How sure a mean over rows is, and whether two recommenders differ.

Both answers come from resampling users with a seeded generator; no distribution is assumed. The
rows of one user are not independent, so that a user is drawn, or flipped, with all rows at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_CHUNK_ENTRIES = 1 << 22
"""Resampled users held at once; bounds memory, changes no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval; in the unit of what was averaged."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """How much better the first recommender is than the second, on the same rows.

    difference: mean over rows of first - second.
    p_value: two-sided, of the hypothesis that swapping the two for any user changes nothing.
    interval: a bootstrap interval of the difference.
    """

    difference: float
    p_value: float
    interval: Interval


def numbered(user_ids: Sequence[str]) -> Int[np.ndarray, " rows"]:
    """A number for each row, the same for all rows of a user."""
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
    """The percentile bootstrap interval of the mean over rows.

    Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; for several
    rows of a user, the first strategy of Davison & Hinkley, Bootstrap Methods and their Application
    (1997), section 3.8: draw users and keep their rows as they are.

    Args:
        values: one number per row.
        users: the number of each row's user, see `numbered`; None where each row is another user's.
        seed: decides the resamples; the same seed and number of users draws the same users, so
            that intervals of several metrics rest on the same resamples.
        num_resamples: draws of as many users, with replacement.
        confidence: the share of resampled means inside the interval.
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
    """The sign-flip test of equal means on paired rows.

        p = (1 + #{resamples with |mean(± d)| >= |mean(d)|}) / (1 + num_resamples)

    d is first - second; all rows of a user have the same sign. Source: Good, Permutation Tests
    (2000), section 3.2; the 1 counts the observed arrangement, so p is never 0.

    Args:
        first: one number per row; with several seeds, the row's mean over them.
        second: the same rows in the same order.
        users: the number of each row's user, as of `bootstrap_interval`.
        seed: decides the flips, and the resamples of the interval.
        num_resamples: flips drawn; the smallest p-value is 1 / (1 + num_resamples).
        confidence: of the interval, see `bootstrap_interval`.
    """
    if len(first) != len(second):
        raise ValueError(f"pairs need the same users, got {len(first)} and {len(second)}.")
    _check_resamples(num_resamples)
    differences = first - second
    interval = bootstrap_interval(differences, users=users, seed=seed, confidence=confidence)
    generator = np.random.default_rng(seed)
    # Users without a difference flip to themselves.
    sums, _ = _by_user(differences, users)
    moved = sums[sums != 0.0]
    observed = abs(moved.sum())
    # Flips that tie with the observed sum must count, although they are added in another order.
    threshold = observed - 1e-9 * np.abs(moved).sum()
    num_extreme = 0
    for chunk in _chunks(num_resamples, max(len(moved), 1)):
        signs = generator.integers(2, size=(chunk.stop - chunk.start, len(moved)), dtype=np.int8)
        # The sum with flips = sum over the kept - sum over the flipped.
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
    """Each user's sum, and number of rows; None where every user has one."""
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
