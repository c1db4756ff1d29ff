"""The signal in the order of items: there in chains, gone in baskets without order."""

from dataclasses import replace

import numpy as np
import pytest

from sidestep.data.histories import Histories
from sidestep.data.splits import leave_one_out
from sidestep.evaluation.data_profile import Times
from sidestep.evaluation.order_signal import order_signal
from sidestep.evaluation.profile_words import doubts
from tests.evaluation.test_data_profile import profiled, small_dataset

NUM_ITEMS = 60


def histories(sequences):
    """Histories of users from their items."""
    return Histories(
        items=np.concatenate(sequences).astype(np.int64),
        offsets=np.cumsum([0, *map(len, sequences)]),
        user_ids=tuple(f"u{user}" for user in range(len(sequences))),
        timestamps=None,
    )


def chains(num_users=150, length=12):
    """Users who walk through the items one after the other, from different starts."""
    return histories([(np.arange(length) + 7 * user) % NUM_ITEMS for user in range(num_users)])


def test_in_chains_the_last_item_tells_the_next_one():
    found = order_signal(leave_one_out(chains()), NUM_ITEMS)
    assert found.in_order == 1.0
    assert found.shuffled < 0.9
    assert 0 < found.difference.low <= found.in_order - found.shuffled <= found.difference.high
    assert not found.is_weak


def test_sequences_that_were_shuffled_before_have_no_order_to_lose():
    draw = np.random.default_rng(0)
    mixed = [draw.permutation(chains().of(user)) for user in range(150)]
    found = order_signal(leave_one_out(histories(mixed)), NUM_ITEMS)
    assert found.is_weak
    assert found.difference.low < found.in_order / 4


def test_two_followers_worked_by_hand():
    # In training 0 -> 1 twice and 0 -> 2 once; the validation history of w ends with 0.
    sequences = [[0, 1, 9, 9], [0, 1, 9, 9], [0, 2, 9, 9], [5, 0, 2, 9]]
    split = leave_one_out(histories(sequences))
    split = replace(split, validation=split.validation.select(np.array([3])))
    assert order_signal(split, 30).in_order == 1.0
    # An item that never followed 0 stands behind the two, among 28: (10 - 2) / 28.
    unseen = replace(split.validation, targets=np.array([7]))
    assert order_signal(replace(split, validation=unseen), 30).in_order == pytest.approx(8 / 28)


def test_histories_are_shuffled_as_training_is():
    # 1 follows 0 in training, shuffled or not, and 0 is the last of ten items of each history.
    sequences = [[0, 1, 8, 9]] * 20 + [[*[3] * 9, 0, 1, 9]] * 20
    split = leave_one_out(histories(sequences))
    split = replace(split, validation=split.validation.select(np.arange(20, 40)))
    found = order_signal(split, 1000)
    assert found.in_order == 1.0
    assert found.shuffled < 0.5


def test_without_validation_rows_nothing_is_measured():
    assert order_signal(leave_one_out(histories([[1, 2]])), NUM_ITEMS) is None


def test_at_most_two_thousand_rows_are_measured():
    assert order_signal(leave_one_out(chains(2100, length=4)), NUM_ITEMS).num_rows == 2000


def test_a_weak_order_and_tied_targets_are_said():
    measured = profiled(small_dataset())
    weak = order_signal(leave_one_out(chains()), NUM_ITEMS)
    weak = replace(weak, shuffled=0.95 * weak.in_order)
    times = Times(first=1, last=2, equal_share=0.5, tied_target_share=0.25)
    said = doubts(replace(measured, order=weak, times=times))
    assert "the order of items carries little" in said[0]
    assert "25.0% of the test targets have the time of the item before them" in said[1]
    assert "--ties item" in said[1]
    strong = replace(weak, shuffled=0.5 * weak.in_order)
    assert not doubts(replace(measured, order=strong, times=replace(times, tied_target_share=0.0)))
