from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.categories import Categories
from sidestep.data.histories import Histories
from sidestep.data.splits import TrainingPart
from sidestep.data.windows import (
    WindowBatch,
    batches,
    num_batches,
    training_windows,
    window_batch,
)
from sidestep.padding import NO_ITEM


@st.composite
def lengths_and_first_targets(draw, max_length=40):
    lengths = draw(st.lists(st.integers(0, max_length), max_size=8))
    first_target = [draw(st.integers(0, length)) for length in lengths]
    return lengths, first_target


def part_of(lengths, first_target):
    """A training part whose items are all different: 0, 1, 2, …"""
    histories = Histories(
        items=np.arange(sum(lengths)),
        offsets=np.cumsum([0, *lengths]),
        user_ids=tuple(map(str, range(len(lengths)))),
    )
    return TrainingPart(histories=histories, first_target=np.array(first_target, dtype=np.int64))


def shown(part, max_history):
    """Each window as (items, positions that are predicted)."""
    windows = training_windows(part, max_history)
    return [
        (windows.items[start : start + length].tolist(), list(range(first, length)))
        for start, length, first in zip(
            windows.starts, windows.lengths, windows.first_target, strict=True
        )
    ]


def test_a_short_sequence_is_one_window():
    assert shown(part_of([5], [1]), max_history=4) == [([0, 1, 2, 3, 4], [1, 2, 3, 4])]


def test_a_long_sequence_is_cut_with_a_stride_of_half_the_history():
    # Windows of 5 that end at 8, 6 and 4; each but the first predicts its last two.
    assert shown(part_of([8], [1]), max_history=4) == [
        ([0, 1, 2, 3], [1, 2, 3]),
        ([1, 2, 3, 4, 5], [3, 4]),
        ([3, 4, 5, 6, 7], [3, 4]),
    ]


def test_context_far_before_the_first_target_is_left_out():
    assert shown(part_of([8], [7]), max_history=3) == [([4, 5, 6, 7], [3])]


def test_a_sequence_without_targets_has_no_window():
    assert shown(part_of([0, 1, 3], [0, 1, 3]), max_history=4) == []


@settings(max_examples=40)
@given(lengths_and_first_targets(), st.integers(1, 12))
def test_every_target_stands_in_one_window_with_enough_history(drawn, max_history):
    part = part_of(*drawn)
    sequence_of = np.repeat(np.arange(len(part)), part.histories.lengths)
    position_of = np.arange(len(sequence_of)) - part.histories.offsets[:-1][sequence_of]
    predicted = []
    for items, targets in shown(part, max_history):
        assert len(items) <= max_history + 1
        assert targets
        assert len(set(sequence_of[items])) == 1
        for target in targets:
            item = items[target]
            predicted.append(item)
            half = max_history + 1 - max(1, max_history // 2)
            assert target >= min(position_of[item], half)
    expected = np.flatnonzero(position_of >= part.first_target[sequence_of])
    assert sorted(predicted) == expected.tolist()


@settings(max_examples=40)
@given(lengths_and_first_targets(max_length=9), st.integers(1, 4), st.integers(0, 3))
def test_an_epoch_holds_every_window_once(drawn, batch_size, epoch):
    part = part_of(*drawn)
    windows = training_windows(part, 4)
    epoch_batches = list(batches(windows, batch_size, seed=1, epoch=epoch))
    assert len(epoch_batches) == num_batches(windows, batch_size)
    targets = [item for batch in epoch_batches for item in batch.items[batch.is_target].tolist()]
    expected = [items[target] for items, found in shown(part, 4) for target in found]
    assert sorted(targets) == sorted(expected)
    for batch in epoch_batches:
        assert batch.num_targets == batch.is_target.sum()
        is_item = torch.arange(batch.items.shape[1]) < batch.lengths[:, None]
        assert torch.equal(batch.items != NO_ITEM, is_item)


def test_a_batch_is_padded_at_the_end():
    windows = training_windows(part_of([3, 1, 2], [1, 0, 2]), 4)
    batch = window_batch(windows, np.array([1, 0])).to("cpu")
    assert batch.items.tolist() == [[3, -1, -1], [0, 1, 2]]
    assert batch.lengths.tolist() == [1, 3]
    assert batch.is_target.tolist() == [[True, False, False], [False, True, True]]
    assert batch.num_targets == 3


def test_before_a_position_stand_the_items_that_come_earlier_and_no_others():
    batch = window_batch(training_windows(part_of([3, 4], [0, 0]), 4), np.array([0, 1]))
    users, positions = torch.tensor([0, 1, 1, 0]), torch.tensor([2, 3, 1, 0])
    before = batch.before(users, positions)
    assert before.items.tolist() == [[0, 1, -1], [3, 4, 5], [3, -1, -1], [-1, -1, -1]]
    assert before.lengths.tolist() == [2, 3, 1, 0]


MANY = training_windows(part_of([2 + row % 7 for row in range(300)], [1] * 300), 10)


def order(**arguments):
    return [batch.items[:, 0].tolist() for batch in batches(MANY, 8, **arguments)]


def test_the_order_depends_on_seed_and_epoch_alone():
    assert order(seed=3, epoch=1) == order(seed=3, epoch=1)
    assert order(seed=3, epoch=1) != order(seed=3, epoch=2)
    assert order(seed=3, epoch=1) != order(seed=4, epoch=1)


def test_a_resumed_epoch_continues_where_it_was():
    for first_batch in (0, 5, num_batches(MANY, 8)):
        rest = order(seed=3, epoch=1, first_batch=first_batch)
        assert rest == order(seed=3, epoch=1)[first_batch:]


def test_equal_windows_have_equal_fingerprints_and_others_do_not():
    narrow = replace(MANY, items=MANY.items.astype(np.int32))
    assert narrow.fingerprint() == MANY.fingerprint()
    for name in ("items", "starts", "lengths", "first_target"):
        changed = getattr(MANY, name).copy()
        changed[-1] += 1
        assert replace(MANY, **{name: changed}).fingerprint() != MANY.fingerprint()


def test_windows_of_like_length_share_a_batch():
    padding = sum(
        int((batch.items == NO_ITEM).sum()) for batch in batches(MANY, 8, seed=0, epoch=0)
    )
    assert padding < 0.05 * MANY.lengths.sum()


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="max_history"):
        training_windows(part_of([2], [1]), 0)
    with pytest.raises(ValueError, match="batch_size"):
        next(batches(MANY, 0, seed=0, epoch=0))
    with pytest.raises(ValueError, match="seed and epoch"):
        next(batches(MANY, 8, seed=-1, epoch=0))
    with pytest.raises(ValueError, match="first_batch"):
        next(batches(MANY, 8, seed=0, epoch=0, first_batch=1000))


def test_selected_windows_are_those_windows():
    windows = training_windows(part_of([9, 4, 6], [1, 1, 1]), max_history=4)
    rows = np.array([3, 0])
    some = windows.select(rows)
    assert len(some) == 2
    both = window_batch(windows, rows)
    again = window_batch(some, np.arange(2))
    assert both.items.equal(again.items)
    assert both.is_target.equal(again.is_target)
    assert some.fingerprint() != windows.fingerprint()


def weighted_part(targets, inputs, first_target):
    """One sequence of the items 0, 1, 2, … with these weights."""
    part = part_of([len(targets)], [first_target])
    weights = {
        "target_weights": np.array(targets, dtype=np.float64),
        "input_weights": np.array(inputs, dtype=np.float64),
    }
    return TrainingPart(
        histories=replace(part.histories, **weights), first_target=part.first_target
    )


def seen_by_targets(windows):
    """By target item: inputs before it with their weights, and the weight of its loss."""
    seen = {}
    for window, position in zip(*windows.targets(), strict=True):
        start = windows.starts[window]
        before = slice(start, start + position)
        read = windows.items[before].tolist()
        scales = [1.0] * len(read)
        if windows.input_weights is not None:
            scales = windows.input_weights[before].tolist()
        weights = windows.target_weights
        weight = 1.0 if weights is None else weights[start + position]
        item = int(windows.items[start + position])
        assert item not in seen
        seen[item] = (list(zip(read, scales, strict=True)), weight)
    return seen


WEIGHTS = st.lists(
    st.tuples(st.sampled_from([0, 0.3, 1]), st.sampled_from([0, 0.2, 1])), max_size=30
)


@settings(max_examples=80)
@given(WEIGHTS, st.integers(0, 5), st.integers(1, 7))
def test_every_target_is_predicted_once_with_its_weight_from_the_inputs_before_it(
    drawn, first_target, max_history
):
    targets, inputs = [w for w, _ in drawn], [w for _, w in drawn]
    first_target = min(first_target, len(drawn))
    windows = training_windows(weighted_part(targets, inputs, first_target), max_history)
    seen = seen_by_targets(windows)
    wanted = [p for p, weight in enumerate(targets) if weight > 0 and p >= first_target]
    assert sorted(seen) == wanted
    assert windows.num_targets == len(wanted)
    for place in wanted:
        read, weight = seen[place]
        assert weight == targets[place]
        before = [(p, inputs[p]) for p in range(place) if inputs[p] > 0]
        assert len(read) <= max_history
        assert read == before[len(before) - len(read) :]
        half = max_history + 1 - max(1, max_history // 2)
        assert len(read) >= min(len(before), half if inputs[place] > 0 else max_history)


def test_a_target_that_is_no_input_is_read_by_nobody():
    # Views 0, 1 and 3 are read, purchases 2 and 4 are predicted.
    windows = training_windows(weighted_part([0, 0, 1, 0, 0.5], [1, 1, 0, 1, 0], 0), 5)
    assert seen_by_targets(windows) == {
        2: ([(0, 1), (1, 1)], 1.0),
        4: ([(0, 1), (1, 1), (3, 1)], 0.5),
    }
    assert windows.input_weights is None


def test_a_batch_has_the_weights_of_its_windows():
    part = weighted_part([1, 0, 0.3, 1], [1, 0.2, 1, 1], 1)
    batch = window_batch(training_windows(part, 5), np.array([0])).to("cpu")
    assert batch.is_target.tolist() == [[False, False, True, True]]
    assert batch.num_targets == 2
    users, positions = batch.is_target.nonzero(as_tuple=True)
    torch.testing.assert_close(batch.weights_of(users, positions), torch.tensor([0.3, 1]))
    torch.testing.assert_close(batch.histories.weights, torch.tensor([[1, 0.2, 1, 1]]))
    before = batch.before(users, positions)
    assert before.lengths.tolist() == [2, 3]
    torch.testing.assert_close(before.weights[1], torch.tensor([1, 0.2, 1]))


def test_the_latest_targets_of_a_window_are_those_with_a_weight():
    windows = training_windows(weighted_part([1, 1, 0, 1, 0], [1] * 5, 0), 9)
    assert windows.lengths.tolist() == [4]  # nothing is predicted after the last target
    for number, first in ((1, 3), (2, 1), (3, 0), (9, 0)):
        latest = windows.latest_targets(number)
        assert latest.first_target.tolist() == [first]
        assert latest.num_targets == min(number, 3)
    plain = training_windows(part_of([5, 2], [1, 1]), 9)
    assert plain.latest_targets(2).first_target.tolist() == [3, 1]


def test_windows_of_other_weights_have_other_fingerprints():
    weights = np.ones(len(MANY.items))
    halved = np.where(np.arange(len(weights)) == 1, 0.5, weights)
    names = {
        MANY.fingerprint(),
        replace(MANY, target_weights=halved).fingerprint(),
        replace(MANY, input_weights=halved).fingerprint(),
        replace(MANY, target_weights=halved, input_weights=halved).fingerprint(),
    }
    assert len(names) == 4


def test_windows_without_weights_are_those_of_before_there_were_any():
    # The fingerprint of these windows before events had weights: old runs can go on.
    assert MANY.fingerprint() == "5cda7459ffe2908ef250855a7d05c21e3908ecbb8a2f41dc352dc38bc57528c6"
    same = training_windows(part_of([2 + row % 7 for row in range(300)], [1] * 300), 10)
    assert same.target_weights is None
    assert window_batch(same, np.arange(3)).target_weights is None


def timed(part, timestamps):
    histories = replace(part.histories, timestamps=np.array(timestamps))
    return TrainingPart(histories=histories, first_target=part.first_target)


def test_a_batch_has_the_gaps_of_its_windows_up_to_each_target():
    windows = training_windows(timed(part_of([4, 2], [0, 1]), [10, 10, 15, 95, 7, 8]), 3)
    batch = window_batch(windows, np.array([0, 1])).to("cpu")
    nan = float("nan")
    expected = torch.tensor([[0, 5, 80, nan], [1, nan, nan, nan]])
    torch.testing.assert_close(batch.gaps, expected, equal_nan=True)
    assert batch.histories.gaps is batch.gaps
    before = batch.before(torch.tensor([0, 1]), torch.tensor([2, 1]))
    # The last gap ends at the target: 15 - 10 and 8 - 7.
    torch.testing.assert_close(before.gaps, torch.tensor([[0, 5.0], [1, nan]]), equal_nan=True)


def test_a_target_that_is_no_input_ends_the_gap_of_the_input_before_it():
    # Views at 0, 10 and 30 are read, purchases at 11 and 39 are predicted.
    part = timed(weighted_part([0, 0, 1, 0, 0.5], [1, 1, 0, 1, 0], 0), [0, 10, 11, 30, 39])
    windows = training_windows(part, 5)
    batch = window_batch(windows, np.arange(len(windows)))
    users, positions = batch.is_target.nonzero(as_tuple=True)
    before = batch.before(users, positions)
    read = [
        gaps[:length] for gaps, length in zip(before.gaps.tolist(), positions.tolist(), strict=True)
    ]
    assert sorted(read) == [[10, 1], [10, 20, 9]]


def test_windows_with_times_have_the_fingerprint_of_those_without():
    part = part_of([4], [0])
    assert training_windows(timed(part, [1, 2, 3, 4]), 3).fingerprint() == (
        training_windows(part, 3).fingerprint()
    )


def test_what_comes_after_a_position_ends_with_its_window():
    batch = WindowBatch(
        items=torch.tensor([[5, 6, 7], [8, 9, NO_ITEM]]),
        lengths=torch.tensor([3, 2]),
        is_target=torch.tensor([[False, True, True], [False, True, False]]),
        num_targets=3,
    )
    users, positions = batch.is_target.nonzero(as_tuple=True)
    expected = [[6, 7, NO_ITEM], [7, NO_ITEM, NO_ITEM], [9, NO_ITEM, NO_ITEM]]
    assert batch.after(users, positions, 3).tolist() == expected
    assert batch.after(users, positions, 1)[:, 0].equal(batch.items[users, positions])


def described(part):
    """The part with the number of its row as the only category of each user."""
    rows = np.arange(len(part))[:, None]
    known = Categories(numbers=rows, weights=np.ones(rows.shape, dtype=np.float32))
    return replace(part, histories=replace(part.histories, user_categories=known))


@given(lengths_and_first_targets(), st.integers(1, 9))
def test_every_window_knows_its_user(drawn, max_history):
    part = described(part_of(*drawn))
    windows = training_windows(part, max_history)
    owner = np.searchsorted(part.histories.offsets, windows.starts, side="right") - 1
    assert windows.users.tolist() == owner.tolist()
    some = windows.select(np.arange(len(windows))[::-2])
    assert some.users.tolist() == owner[::-2].tolist()
    assert windows.fingerprint() == training_windows(part_of(*drawn), max_history).fingerprint()


def test_a_batch_has_the_values_of_the_users_of_its_windows():
    windows = training_windows(described(part_of([8, 2], [1, 1])), 4)
    batch = window_batch(windows, np.array([3, 0])).to("cpu")
    assert batch.user_values.numbers.tolist() == [[1], [0]]
    assert batch.histories.user_values is batch.user_values
    before = batch.before(torch.tensor([1, 1, 0]), torch.tensor([1, 2, 1]))
    assert before.user_values.numbers.tolist() == [[0], [0], [1]]
    plain = window_batch(training_windows(part_of([8, 2], [1, 1]), 4), np.array([0]))
    assert plain.user_values is None


def test_windows_of_targets_that_are_no_inputs_know_their_user():
    part = weighted_part([0, 0, 1, 0, 0.5], [1, 1, 0, 1, 0], 0)
    twice = TrainingPart(
        histories=Histories(
            items=np.tile(part.histories.items, 2),
            offsets=np.array([0, 5, 10]),
            user_ids=("a", "b"),
            target_weights=np.tile(part.histories.target_weights, 2),
            input_weights=np.tile(part.histories.input_weights, 2),
        ),
        first_target=np.array([0, 0]),
    )
    windows = training_windows(described(twice), 5)
    assert sorted(windows.users.tolist()) == [0, 0, 1, 1]
    batch = window_batch(windows, np.arange(len(windows)))
    assert batch.user_values.numbers[:, 0].tolist() == windows.users.tolist()
