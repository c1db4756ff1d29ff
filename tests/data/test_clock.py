import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.data.clock import moment, timestamp_of, unit_of

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
A_DAY_IN_2018 = 1_538_265_600  # 2018-09-30T00:00:00Z


@given(st.sampled_from(list(PER_SECOND)), st.integers(0, 86_399))
def test_moments_are_told_in_every_unit(unit, seconds):
    timestamp = (A_DAY_IN_2018 + seconds) * PER_SECOND[unit]
    assert unit_of(np.array([timestamp])) == unit
    assert moment(timestamp, unit).date().isoformat() == "2018-09-30"
    assert timestamp_of(moment(timestamp, unit).isoformat(), unit) == timestamp


def test_numbers_that_are_no_moments_have_no_unit():
    for numbers in ([], [0, 1, 2], [A_DAY_IN_2018, A_DAY_IN_2018 * 1000], [-5]):
        assert unit_of(np.array(numbers, dtype=np.int64)) is None


def test_a_moment_is_named_by_number_or_date():
    assert timestamp_of("17", None) == 17
    assert timestamp_of("2018-09-30", "ms") == A_DAY_IN_2018 * 1000
    assert timestamp_of("2018-09-30T02:00:00+02:00", "s") == A_DAY_IN_2018
    with pytest.raises(ValueError, match="neither a whole number nor a date"):
        timestamp_of("soon", "s")
    with pytest.raises(ValueError, match="in their unit"):
        timestamp_of("2018-09-30", None)
