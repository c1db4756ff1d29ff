"""Intervals and tests, compared with closed forms and exhaustive enumeration."""

import itertools

import numpy as np
import pytest

from sidestep.metrics import statistics
from sidestep.metrics.statistics import bootstrap_interval, numbered, paired_permutation_test


def sample(num_users: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 0.2, num_users)


def test_the_interval_is_that_of_the_central_limit():
    values = sample()
    interval = bootstrap_interval(values, seed=1)
    margin = 1.96 * values.std() / len(values) ** 0.5
    assert interval.low == pytest.approx(values.mean() - margin, abs=0.1 * margin)
    assert interval.high == pytest.approx(values.mean() + margin, abs=0.1 * margin)


def test_a_constant_has_an_interval_without_width():
    interval = bootstrap_interval(np.full(20, 0.25), seed=1)
    assert (interval.low, interval.high) == (0.25, 0.25)


def test_the_same_seed_gives_the_same_interval_in_any_chunks(monkeypatch):
    values = sample(50)
    whole = bootstrap_interval(values, seed=3)
    monkeypatch.setattr(statistics, "_CHUNK_ENTRIES", 1000)
    assert bootstrap_interval(values, seed=3) == whole
    assert bootstrap_interval(values, seed=4) != whole


def test_the_p_value_is_that_of_all_flips():
    first = np.array([0.9, 0.4, 0.8, 0.5, 0.7, 0.2, 0.6, 0.0])
    second = np.array([0.1, 0.5, 0.3, 0.1, 0.4, 0.2, 0.1, 0.3])
    differences = first - second
    sums = [
        abs((differences * signs).sum())
        for signs in itertools.product([1, -1], repeat=len(differences))
    ]
    exact = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12)
    result = paired_permutation_test(first, second, seed=0, num_resamples=40_000)
    assert result.p_value == pytest.approx(exact, abs=0.006)
    assert result.difference == pytest.approx(differences.mean())
    assert result.interval.low < result.difference < result.interval.high


def test_ties_in_hits_count_as_extreme():
    # Three users moved, all up: of 8 flips, the two with equal signs are as extreme.
    first = np.array([1.0, 1.0, 1.0, 0.0, 1.0])
    second = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    result = paired_permutation_test(first, second, seed=0, num_resamples=20_000)
    assert result.p_value == pytest.approx(2 / 8, abs=0.012)


def test_ties_among_differences_that_are_no_binary_fractions_count_as_extreme():
    # Gains at ranks 4 and 11 of NDCG, each gained once and lost once, and at 8 and 6: no flips give
    # a sum nearer to 0 than the observed one, so that all flips are at least as extreme.
    gains = 1 / np.log2([8.0, 4.0, 11.0, 4.0, 11.0, 6.0])
    differences = gains * [1, 1, -1, -1, 1, -1]
    result = paired_permutation_test(differences, np.zeros(6), seed=0, num_resamples=2000)
    assert result.p_value == 1.0


def test_swapping_the_two_turns_the_sign_and_nothing_else():
    first, second = sample(200, 1), sample(200, 2)
    ab = paired_permutation_test(first, second, seed=0, num_resamples=500)
    ba = paired_permutation_test(second, first, seed=0, num_resamples=500)
    assert ab.difference == -ba.difference
    assert ab.p_value == ba.p_value


def test_equal_recommenders_do_not_differ():
    result = paired_permutation_test(sample(30), sample(30), seed=0, num_resamples=100)
    assert (result.difference, result.p_value) == (0.0, 1.0)


def test_a_clear_difference_has_the_smallest_p_value():
    result = paired_permutation_test(sample() + 0.2, sample(seed=5), seed=0, num_resamples=999)
    assert result.p_value == 1 / 1000


def test_p_values_are_uniform_when_nothing_differs():
    p_values = [
        paired_permutation_test(
            sample(30, 2 * trial), sample(30, 2 * trial + 1), seed=trial, num_resamples=200
        ).p_value
        for trial in range(100)
    ]
    assert 0.4 < np.mean(p_values) < 0.6
    assert np.mean(np.array(p_values) <= 0.1) < 0.2


def test_users_with_one_row_each_change_no_bit():
    first, second, users = sample(60, 1), sample(60, 2), np.arange(60)[::-1].copy()
    assert bootstrap_interval(first, users=users, seed=3) == bootstrap_interval(first, seed=3)
    assert paired_permutation_test(
        first, second, users=users, seed=3, num_resamples=99
    ) == paired_permutation_test(first, second, seed=3, num_resamples=99)


def test_saying_everything_twice_makes_nothing_surer():
    first, second = sample(60, 1), sample(60, 2)
    twice = numbered([f"user {row // 2}" for row in range(120)])
    once = paired_permutation_test(first, second, seed=3, num_resamples=999)
    again = paired_permutation_test(
        first.repeat(2), second.repeat(2), users=twice, seed=3, num_resamples=999
    )
    assert again.p_value == once.p_value
    assert again.difference == pytest.approx(once.difference)
    assert (again.interval.low, again.interval.high) == pytest.approx(
        (once.interval.low, once.interval.high)
    )
    unaware = bootstrap_interval((first - second).repeat(2), seed=3)
    width = once.interval.high - once.interval.low
    assert (unaware.high - unaware.low) / width == pytest.approx(0.5**0.5, rel=0.1)


def test_a_user_with_more_rows_weighs_more():
    # One user has three hits, the other user one miss. If the first user is drawn twice, once or
    # never, the mean over rows is 1, 3/4 or 0, with probabilities 1/4, 1/2 and 1/4.
    values, users = np.array([1.0, 0.0, 1.0, 1.0]), np.array([7, 4, 7, 7])
    half = bootstrap_interval(values, users=users, seed=0, confidence=0.4)
    assert (half.low, half.high) == (0.75, 0.75)
    most = bootstrap_interval(values, users=users, seed=0)
    assert (most.low, most.high) == (0.0, 1.0)


def test_the_rows_of_a_user_are_flipped_together():
    # Rows of two users that all moved up: of 4 flips, the two with equal signs are as extreme.
    up, down = np.ones(5), np.zeros(5)
    users = numbered(["a", "b", "a", "b", "b"])
    result = paired_permutation_test(up, down, users=users, seed=0, num_resamples=20_000)
    assert result.p_value == pytest.approx(2 / 4, abs=0.012)
    with pytest.raises(ValueError, match="5 rows need as many users, got 4"):
        paired_permutation_test(up, down, users=users[:4], seed=0)


@pytest.mark.parametrize(("values", "named"), [([], "no users"), ([0.1, float("nan")], "finite")])
def test_values_without_a_mean_are_refused(values, named):
    with pytest.raises(ValueError, match=named):
        bootstrap_interval(np.array(values, dtype=float), seed=0)


def test_pairs_of_different_users_are_refused():
    with pytest.raises(ValueError, match="same users"):
        paired_permutation_test(sample(3), sample(4), seed=0)


def test_a_surer_interval_of_a_difference_is_wider():
    first, second = sample(seed=1), sample(seed=2)
    usual = paired_permutation_test(first, second, num_resamples=200, seed=3)
    narrow = paired_permutation_test(first, second, num_resamples=200, seed=3, confidence=0.5)
    wide, half = usual.interval, narrow.interval
    assert wide.low < half.low < half.high < wide.high
