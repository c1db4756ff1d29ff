"""New splits: what is named decides, and what a strategy has no use for is refused."""

import numpy as np
import pytest

from sidestep.data.histories import Histories
from sidestep.data.new_split import new_split


def histories(*, is_timed=True):
    """Ten users who take items 0 and 1 in turn, one interaction at each moment from 1 to 30."""
    times = np.arange(1, 31, dtype=np.int64).reshape(3, 10).T.reshape(-1)
    return Histories(
        items=np.tile(np.array([0, 1, 0], dtype=np.int64), 10),
        timestamps=times if is_timed else None,
        offsets=np.arange(0, 31, 3),
        user_ids=tuple(f"u{row}" for row in range(10)),
    )


def test_shares_that_are_not_named_are_a_tenth_each():
    made = new_split(histories(), "global-time")
    assert made.strategy == "global-time@25,28,last"
    assert (len(made.validation), len(made.test)) == (3, 3)


def test_moments_and_targets_are_taken_as_they_are_named():
    made = new_split(histories(), "global-time", moments=("11", "21"), targets="every")
    assert made.strategy == "global-time@11,21,every"
    assert (len(made.validation), len(made.test)) == (10, 10)


def test_leave_one_out_holds_out_the_last_two_of_each_user():
    made = new_split(histories(is_timed=False), "leave-one-out")
    assert made.validation.targets.tolist() == [1] * 10
    assert made.test.targets.tolist() == [0] * 10


@pytest.mark.parametrize(
    ("strategy", "named", "message"),
    [
        ("leave-one-out", {"shares": (0.1, None)}, "leave out the options of moments"),
        ("leave-one-out", {"targets": "every"}, "leave out the options of moments"),
        ("global-time", {"moments": ("11", "21"), "shares": (0.1, None)}, "either moments"),
        ("global-time", {"moments": ("11", None)}, "both --validation-from and --test-from"),
    ],
)
def test_what_a_strategy_has_no_use_for_is_refused(strategy, named, message):
    with pytest.raises(ValueError, match=message):
        new_split(histories(), strategy, **named)


def test_a_split_by_time_needs_times():
    with pytest.raises(ValueError, match="the interactions have no timestamps"):
        new_split(histories(is_timed=False), "global-time")
