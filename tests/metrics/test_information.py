from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.metrics.information import mutual_information_bits


def test_what_a_perfect_and_a_useless_class_tell():
    halves = np.array([0, 0, 1, 1])
    # Of the 6 ways to deal two zeros and two ones, 2 give full information and 4 give none.
    assert mutual_information_bits(halves, halves) == pytest.approx((1.0, 1 / 3))
    assert mutual_information_bits(halves, np.array([0, 1, 0, 1])) == pytest.approx((0.0, 1 / 3))
    assert mutual_information_bits(halves, np.zeros(4, dtype=int)) == pytest.approx((0.0, 0.0))
    assert mutual_information_bits(halves[:0], halves[:0]) == (0.0, 0.0)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=4))
def test_chance_is_the_mean_over_all_pairings(pairs):
    first, second = np.array(pairs).T
    every = [mutual_information_bits(first, np.array(dealt))[0] for dealt in permutations(second)]
    assert mutual_information_bits(first, second)[1] == pytest.approx(np.mean(every), abs=1e-9)
