import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.data.histories import Histories
from sidestep.data.repeats import Repeats
from sidestep.data.splits import TrainingPart
from sidestep.data.windows import Windows, training_windows

NUM_ITEMS = 6


def windows_of(rows, first_target=1, max_history=20) -> Windows:
    histories = Histories(
        items=np.array([item for row in rows for item in row], dtype=np.int64),
        offsets=np.cumsum([0, *map(len, rows)]),
        user_ids=tuple(map(str, range(len(rows)))),
    )
    first = np.minimum(first_target, histories.lengths)
    return training_windows(TrainingPart(histories=histories, first_target=first), max_history)


def test_what_is_counted():
    # The targets 1, 0, 0 and 2 come after 1, 2, 2 and 2 different items; two of them are repeats.
    repeats = Repeats.of(windows_of([[0, 1, 0, 0, 2], [3]]))
    assert repeats.num_targets.tolist() == [0, 1, 3]
    assert repeats.num_repeats == 2
    # The target 5 comes after 4 and 4, which are one item. The second 4 is no target.
    later = Repeats.of(windows_of([[4, 4, 5]], first_target=2))
    assert later.num_targets.tolist() == [0, 1]
    assert later.num_repeats == 0


def test_a_repeat_of_what_its_window_no_longer_holds_is_none():
    rows = [[0, 1, 2, 3, 0]]
    assert Repeats.of(windows_of(rows)).num_repeats == 1
    assert Repeats.of(windows_of(rows, max_history=2)).num_repeats == 0


@given(
    st.lists(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=9), max_size=5),
    st.integers(0, 3),
    st.integers(1, 8),
)
def test_counts_are_those_of_a_loop_over_targets(rows, first_target, max_history):
    windows = windows_of(rows, first_target, max_history)
    held, num_repeats = [], 0
    for start, length, first in zip(
        windows.starts, windows.lengths, windows.first_target, strict=True
    ):
        items = windows.items[start : start + length].tolist()
        for position in range(first, length):
            held.append(len(set(items[:position])))
            num_repeats += items[position] in items[:position]
    repeats = Repeats.of(windows)
    assert repeats.num_targets.tolist() == np.bincount(held).tolist()
    assert repeats.num_repeats == num_repeats


def test_histories_of_one_size_have_a_closed_form():
    repeats = Repeats(num_targets=np.array([0, 0, 99]), num_repeats=24)
    # About a quarter; with the half that is added: (24 + .5) / (99 + 1) = .245.
    expected = math.log(0.245 / 0.755) - math.log(2 / 8)
    assert repeats.log_odds(10) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("num_repeats", "sign"), [(0, -1), (1000, 1)])
def test_the_more_targets_agree_the_further_it_is_from_nothing(num_repeats, sign):
    many = Repeats(num_targets=np.array([0, 1000]), num_repeats=num_repeats).log_odds(2)
    few = Repeats(num_targets=np.array([0, 10]), num_repeats=num_repeats // 100).log_odds(2)
    assert many == pytest.approx(sign * math.log(2001), abs=1e-9)
    assert few == pytest.approx(sign * math.log(21), abs=1e-9)


@given(
    st.lists(st.integers(0, 50), min_size=NUM_ITEMS + 1, max_size=NUM_ITEMS + 1),
    st.floats(0, 1),
)
def test_equal_scores_and_the_bias_repeat_as_often_as_the_data(num_targets, share):
    """Both agree over the targets whose history holds some of the items, but not all."""
    targets = np.array(num_targets)
    choices = int(targets[1:NUM_ITEMS].sum())
    chosen = round(share * choices)
    repeats = Repeats(num_targets=targets, num_repeats=chosen + int(targets[NUM_ITEMS:].sum()))
    score = repeats.log_odds(NUM_ITEMS)
    if not choices:
        assert score == 0
        return
    mass = 0.0
    for held in range(1, NUM_ITEMS):
        weight = held * math.exp(score)
        mass += targets[held] * weight / (weight + NUM_ITEMS - held)
    assert mass == pytest.approx(choices * (chosen + 0.5) / (choices + 1), rel=1e-6)
