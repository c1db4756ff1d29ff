import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.batches import history_batch
from sidestep.data.histories import Histories
from sidestep.data.splits import Rows, Split, TrainingPart, from_given_rows, leave_one_out

SEQUENCES = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6)


def histories_of(sequences, **extra):
    return Histories(
        items=np.array([item for sequence in sequences for item in sequence], dtype=np.int64),
        offsets=np.cumsum([0, *map(len, sequences)]),
        user_ids=tuple(f"u{row}" for row in range(len(sequences))),
        **extra,
    )


def lists(histories):
    return [histories.of(row).tolist() for row in range(len(histories))]


@settings(max_examples=40)
@given(SEQUENCES)
def test_the_last_item_tests_and_the_one_before_validates(sequences):
    split = leave_one_out(histories_of(sequences))
    evaluated = [sequence for sequence in sequences if len(sequence) >= 3]
    assert lists(split.test.histories) == [sequence[:-1] for sequence in evaluated]
    assert split.test.targets.tolist() == [sequence[-1] for sequence in evaluated]
    assert lists(split.validation.histories) == [sequence[:-2] for sequence in evaluated]
    assert split.validation.targets.tolist() == [sequence[-2] for sequence in evaluated]
    assert lists(split.train.histories) == [
        sequence[:-2] if len(sequence) >= 3 else sequence for sequence in sequences
    ]
    assert split.num_training_only == len(sequences) - len(evaluated)


def test_only_items_with_enough_context_are_trained():
    histories = histories_of([[1, 2, 3, 4, 5], [6], []])  # training keeps 1 2 3; 6; nothing
    one, two = (leave_one_out(histories, min_context=least).train for least in (1, 2))
    assert one.first_target.tolist() == [1, 1, 0]
    assert (one.num_targets, two.num_targets) == (2, 1)
    assert one.num_first_targets == two.num_first_targets == 0


def test_the_empty_history_is_trained_unless_more_context_is_asked_for():
    train = leave_one_out(histories_of([[1, 2, 3, 4, 5], [6], []])).train
    assert train.first_target.tolist() == [0, 0, 0]
    assert (train.num_targets, train.num_first_targets) == (4, 2)


def test_a_target_is_a_repeat_wherever_it_stands_in_the_history():
    histories = histories_of([[3, 1, 2], [1, 2], [], [4, 4]])
    rows = Rows(histories=histories, targets=np.array([3, 3, 3, 4]))
    assert rows.is_repeat.tolist() == [True, False, False, True]


def test_a_training_part_can_ask_for_more_context_but_for_no_new_targets():
    part = TrainingPart(
        histories=histories_of([[1, 2, 3], [4], [5, 6]]), first_target=np.array([0, 1, 2])
    )
    assert part.after(0).first_target.tolist() == [0, 1, 2]
    assert part.after(2).first_target.tolist() == [2, 1, 2]


def test_rows_are_chosen_with_their_targets():
    rows = Rows(histories=histories_of([[1, 2, 3], [4]]), targets=np.array([8, 9]))
    chosen = rows.select(np.array([1, 0]))
    assert (lists(chosen.histories), chosen.targets.tolist()) == ([[4], [1, 2, 3]], [9, 8])
    assert history_batch(chosen.histories).items.tolist() == [[4, -1, -1], [1, 2, 3]]


def weighted(sequences, targets, inputs):
    """Histories whose events have weights by type. 'view3' is a view of item 3."""
    names = [name.rstrip("0123456789") for sequence in sequences for name in sequence]
    items = [[int(name.lstrip("abcdefghijklmnopqrstuvwxyz")) for name in s] for s in sequences]

    def weights(by_type):
        return None if by_type is None else np.array([by_type.get(name, 0.0) for name in names])

    return histories_of(
        items,
        events=np.array(names, dtype=np.str_),
        target_weights=weights(targets),
        input_weights=weights(inputs),
    )


BOUGHT = {"purchase": 1.0, "cart": 0.3}


def test_only_target_events_are_held_out_and_later_events_are_not_trained_on():
    histories = weighted(
        [
            ["view1", "purchase1", "view2", "cart2", "view3", "purchase3", "view4"],
            ["view5", "purchase5", "view6"],
            ["purchase7", "view7", "purchase8"],
            ["view9", "purchase9", "purchase9"],
        ],
        BOUGHT,
        None,
    )
    split = leave_one_out(histories, min_context=1)
    assert split.test.targets.tolist() == [3, 9]
    assert lists(split.test.histories) == [[1, 1, 2, 2, 3], [9, 9]]
    assert split.validation.targets.tolist() == [2, 9]
    assert lists(split.validation.histories) == [[1, 1, 2], [9]]
    # The second user has one target. No input precedes the first target of the third user.
    assert lists(split.train.histories) == [[1, 1, 2], [5, 5, 6], [7, 7, 8], [9]]
    assert split.num_training_only == 2
    assert split.train.num_targets == 3  # purchases 1, 5 and 8
    every = leave_one_out(histories, min_context=0).train
    assert (every.num_targets, every.num_first_targets) == (4, 1)  # and purchase 7
    assert split.strategy == "leave-one-out of cart+purchase"


def test_histories_of_rows_hold_inputs_alone():
    histories = weighted(
        [["view1", "cart2", "purchase3", "purchase4", "view5", "cart6", "purchase7"]],
        {"purchase": 1.0},
        {"purchase": 1.0, "cart": 0.5},
    )
    split = leave_one_out(histories)
    assert lists(split.test.histories) == [[2, 3, 4, 6]]
    assert split.test.histories.input_weights.tolist() == [0.5, 1, 1, 0.5]
    assert split.test.histories.target_weights is None
    assert split.scales_inputs
    # An event that is neither target nor input is in no part.
    assert lists(split.train.histories) == [[2, 3]]
    only = weighted([["view1", "cart2", "purchase3", "purchase4"]], None, {"cart": 1.0})
    assert not leave_one_out(only).scales_inputs


def test_context_is_counted_in_inputs():
    histories = weighted(
        [["view1", "view2", "purchase3", "cart4", "purchase5", "purchase6", "purchase7"]],
        {"purchase": 1.0},
        {"cart": 1.0, "purchase": 1.0},
    )
    # Training has purchase3, cart4 and purchase5; views are neither target nor input.
    assert leave_one_out(histories, min_context=0).train.num_targets == 2
    assert leave_one_out(histories, min_context=1).train.num_targets == 1
    assert leave_one_out(histories, min_context=3).train.num_targets == 0


@settings(max_examples=40)
@given(SEQUENCES)
def test_weights_of_one_give_the_split_without_weights(sequences):
    size = sum(map(len, sequences))
    ones = {"target_weights": np.ones(size), "input_weights": np.ones(size)}
    plain = leave_one_out(histories_of(sequences))
    split = leave_one_out(histories_of(sequences, **ones))
    for part in ("train", "validation", "test"):
        assert lists(getattr(split, part).histories) == lists(getattr(plain, part).histories)
    assert split.test.targets.tolist() == plain.test.targets.tolist()
    assert split.train.first_target.tolist() == plain.train.first_target.tolist()
    assert split.num_training_only == plain.num_training_only
    assert split.train.num_targets == plain.train.num_targets
    assert split.strategy == plain.strategy


def test_a_saved_split_keeps_weights_and_its_name_knows_them(tmp_path):
    sequence = [["view1", "purchase2", "purchase3", "purchase4"], ["view1"]]
    splits = [
        leave_one_out(weighted(sequence, {"purchase": weight}, {"purchase": 1.0, "view": scale}))
        for weight, scale in ((1.0, 1.0), (0.5, 1.0), (1.0, 0.5))
    ]
    assert len({split.fingerprint() for split in splits}) == 3
    assert len({split.train.fingerprint() for split in splits}) == 3
    for number, split in enumerate(splits):
        split.save(tmp_path / str(number))
        loaded = Split.load(tmp_path / str(number))
        assert loaded.fingerprint() == split.fingerprint()
        for name in ("target_weights", "input_weights"):
            np.testing.assert_array_equal(
                getattr(loaded.train.histories, name), getattr(split.train.histories, name)
            )


def test_given_rows_are_taken_as_they_are():
    training = histories_of([[1, 2], [3], []])
    rows = Rows(histories=histories_of([[5, 6]]), targets=np.array([7]))
    split = from_given_rows(training=training, validation=rows, test=rows)
    assert split.train.first_target.tolist() == [0, 0, 0]
    assert (split.strategy, split.num_training_only) == ("given", 2)


@settings(max_examples=25)
@given(SEQUENCES, st.booleans())
def test_a_saved_split_loads_as_it_was(tmp_path_factory, sequences, is_timed):
    size = sum(map(len, sequences))
    extra = {"timestamps": np.arange(size), "events": np.array(["é"] * size, dtype=np.str_)}
    split = leave_one_out(histories_of(sequences, **(extra if is_timed else {})))
    path = tmp_path_factory.mktemp("split") / "split"
    split.save(path)
    loaded = Split.load(path)
    assert (loaded.strategy, loaded.num_training_only) == ("leave-one-out", split.num_training_only)
    np.testing.assert_array_equal(loaded.train.first_target, split.train.first_target)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(getattr(loaded, part).targets, getattr(split, part).targets)
    for part in ("train", "validation", "test"):
        before, after = getattr(split, part).histories, getattr(loaded, part).histories
        assert lists(after) == lists(before)
        assert after.user_ids == before.user_ids
        for name in ("timestamps", "events"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_a_damaged_or_foreign_split_is_refused(tmp_path):
    split = leave_one_out(histories_of([[1, 2, 3, 4]]))
    split.save(tmp_path / "a")
    leave_one_out(histories_of([[1, 2, 3, 5]])).save(tmp_path / "b")
    (tmp_path / "b" / "test.parquet").replace(tmp_path / "a" / "test.parquet")
    with pytest.raises(ValueError, match=r"test\.parquet: not the content"):
        Split.load(tmp_path / "a")
    split.save(tmp_path / "a")
    description = json.loads((tmp_path / "a" / "split.json").read_text())
    (tmp_path / "a" / "split.json").write_text(json.dumps({**description, "format_version": 99}))
    with pytest.raises(ValueError, match=r"split\.json: format version 99"):
        Split.load(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="not a saved split"):
        Split.load(tmp_path / "nowhere")


def test_targets_that_belong_to_no_history_are_refused():
    histories = histories_of([[1, 2]])
    with pytest.raises(ValueError, match="as many targets"):
        Rows(histories=histories, targets=np.array([1, 2]))
    with pytest.raises(ValueError, match="from 0 on"):
        Rows(histories=histories, targets=np.array([-1]))
    with pytest.raises(ValueError, match="outside its sequence of 2 items"):
        TrainingPart(histories=histories, first_target=np.array([3]))
    with pytest.raises(ValueError, match="as many first targets"):
        TrainingPart(histories=histories, first_target=np.array([0, 0]))
