import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.metrics.distribution import entropy_bits, gini, perplexity

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=20).map(np.array)


@pytest.mark.parametrize(
    ("counts", "bits"), [([1, 1, 1, 1], 2.0), ([3, 1], 0.8112781), ([0, 7, 0], 0.0), ([0], 0.0)]
)
def test_entropy_worked_by_hand(counts, bits):  # 3/4 log2(4/3) + 1/4 log2(4) = 0.8112781
    assert entropy_bits(np.array(counts)) == pytest.approx(bits)


@given(COUNTS)
def test_perplexity_lies_between_one_and_the_number_of_classes(counts):
    assert 1 <= perplexity(counts) <= len(counts) + 1e-9


@given(st.integers(1, 20), st.integers(1, 50))
def test_equal_counts_have_the_largest_perplexity_and_no_inequality(num_classes, count):
    counts = np.full(num_classes, count)
    assert perplexity(counts) == pytest.approx(num_classes)
    assert gini(counts) == pytest.approx(0)


@pytest.mark.parametrize(
    ("counts", "expected"), [([5, 1], 1 / 3), ([0, 5, 0, 1], 2 / 3), ([0, 0, 9], 2 / 3), ([0], 0)]
)
def test_gini_worked_by_hand(counts, expected):  # (-1·1 + 1·5) / (2·6); (1·1 + 3·5) / (4·6)
    assert gini(np.array(counts)) == pytest.approx(expected)


@given(COUNTS)
def test_gini_is_half_the_relative_mean_difference(counts):
    difference = np.abs(counts[:, None] - counts[None, :]).mean()
    expected = difference / (2 * counts.mean()) if counts.any() else 0.0
    assert gini(counts) == pytest.approx(expected)
