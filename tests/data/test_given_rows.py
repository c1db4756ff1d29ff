import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.given_rows import (
    GivenRow,
    chains,
    given_split,
    held_out,
    num_extending,
    sequences_of,
)


def row(user_id, history, target):
    return GivenRow(user_id=user_id, history=tuple(history), target=target)


def rows_of(user_id, sequence, window):
    """A row for every item but the first; its history is the `window` items before it."""
    return [
        row(user_id, sequence[max(0, at - window) : at], sequence[at])
        for at in range(1, len(sequence))
    ]


def asked(rows):
    """User, end of the history that all cuts share, and target of each row."""
    return sorted((row.user_id, row.history[-1:], row.target) for row in rows)


def test_rows_that_follow_each_other_become_one_sequence():
    [chain] = chains([row("u", [1], 2), row("u", [1, 2], 3), row("u", [1, 2, 3], 4)])
    assert (chain.items, chain.num_context) == ([1, 2, 3, 4], 1)


def test_a_history_that_was_cut_grows_back():
    [chain] = chains(rows_of("u", [5, 6, 7, 8, 9], window=2))
    assert (chain.items, chain.num_context) == ([5, 6, 7, 8, 9], 1)


def test_rows_that_follow_none_stay_alone():
    rows = [row("u", [1, 2], 3), row("u", [1, 2], 4), row("v", [1, 2, 3], 5), row("u", [2], 3)]
    assert [(chain.user_id, chain.items, chain.num_context) for chain in chains(rows)] == [
        ("u", [1, 2, 3], 2),
        ("u", [1, 2, 4], 2),
        ("v", [1, 2, 3, 5], 3),
        ("u", [2, 3], 1),
    ]


SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=8), min_size=1, max_size=4)


@settings(max_examples=100)
@given(SEQUENCES, st.integers(1, 9), st.randoms(use_true_random=False))
def test_every_target_is_predicted_once_whatever_the_order(sequences, window, random):
    rows = [
        each
        for user, sequence in enumerate(sequences)
        for each in rows_of(f"u{user}", sequence, window)
    ]
    random.shuffle(rows)
    found = chains(rows)
    predicted = [
        (chain.user_id, tuple(chain.items[at - 1 : at]), chain.items[at])
        for chain in found
        for at in range(chain.num_context, len(chain.items))
    ]
    assert sorted(predicted) == asked(rows)
    split = given_split(rows, rows[:1], rows[:1])
    assert split.train.num_targets == len(rows)


@settings(max_examples=100)
@given(SEQUENCES, st.integers(1, 9))
def test_sequences_come_back_from_rows_in_order(sequences, window):
    rows = [
        each
        for user, sequence in enumerate(sequences)
        for each in rows_of(f"u{user}", sequence, window)
    ]
    whole = {f"u{user}": sequence for user, sequence in enumerate(sequences)}
    if window >= max(map(len, sequences)) - 1:
        assert sequences_of(rows) == whole
    assert sequences_of(rows).keys() == whole.keys()


def test_other_rows_of_a_user_are_laid_end_to_end():
    rows = [row("u", [1, 2], 3), row("u", [2, 3], 4), row("u", [7], 8), row("u", [1, 2], 9)]
    assert sequences_of(rows) == {"u": [1, 2, 3, 4, 7, 8, 9]}
    assert sequences_of([]) == {}


@settings(max_examples=100)
@given(
    st.permutations(range(12)).map(lambda order: order[:8]),
    st.integers(2, 9),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_a_gap_invents_no_repeats_whatever_the_order(sequence, window, gap, random):
    rows = rows_of("u", list(sequence), window)
    shuffled = rows[:3]
    random.shuffle(shuffled)
    [known] = sequences_of([*shuffled, *rows[3 + gap :]]).values()
    assert len(known) == len(set(known))
    assert set(known) == {
        item for row in (*rows[:3], *rows[3 + gap :]) for item in (*row.history, row.target)
    }


def test_shuffled_rows_of_cut_histories_find_each_other():
    rows = rows_of("u", [1, 2, 3, 4, 5, 6], window=2)
    shuffled = [rows[at] for at in (4, 2, 0, 3, 1)]
    assert sequences_of(shuffled) == {"u": [1, 2, 3, 4, 5, 6]}
    [chain] = chains(shuffled)
    assert (chain.items, chain.num_context) == ([1, 2, 3, 4, 5, 6], 1)
    assert chain.rows == [2, 4, 1, 3, 0]


def test_a_gap_between_training_and_test_rows():
    train = rows_of("u", [1, 2, 3], window=5)
    assert sequences_of([*train, row("u", [1, 2, 3, 4], 5)]) == {"u": [1, 2, 3, 4, 5]}
    assert sequences_of([*train, row("u", [2, 3, 4], 5)]) == {"u": [1, 2, 3, 4, 5]}
    assert sequences_of([*train, row("u", [7, 8], 9)]) == {"u": [1, 2, 3, 7, 8, 9]}
    # A row that is in two files tells of one event.
    assert sequences_of([*train, train[1]]) == {"u": [1, 2, 3]}
    # Another item after the same history as before: only the target repeats.
    assert sequences_of([*train, row("u", [1, 2], 3), row("u", [3], 3)]) == {"u": [1, 2, 3, 3]}


@settings(max_examples=50)
@given(SEQUENCES, st.integers(1, 9))
def test_the_last_row_of_each_user_is_held_out(sequences, window):
    rows = [
        each
        for user, sequence in enumerate(sequences)
        for each in rows_of(f"u{user}", sequence, window)
    ]
    kept, held = held_out(rows)
    assert sorted([*kept, *held], key=rows.index) == sorted(rows, key=rows.index)
    if any(len(sequence) > 2 for sequence in sequences):
        assert [(row.user_id, row.target) for row in held] == [
            (f"u{user}", sequence[-1])
            for user, sequence in enumerate(sequences)
            if len(sequence) > 2
        ]


def test_where_every_user_has_one_row_every_tenth_is_held_out():
    rows = [row(f"u{user}", [1], 2) for user in range(25)]
    kept, held = held_out(rows)
    assert [each.user_id for each in held] == ["u9", "u19"]
    assert len(kept) == 23
    assert held_out(rows[:3])[1] == rows[2:3]
    assert held_out(rows[:1]) == (rows[:1], [])


def test_rows_that_go_on_from_others_are_counted():
    assert num_extending(rows_of("u", [1, 2, 3, 4], window=9)) == 2
    assert num_extending(rows_of("u", [1, 2, 3, 4, 5], window=2)) == 3
    assert num_extending([row("u", [1], 2), row("u", [1, 2, 3], 4), row("v", [1, 2], 3)]) == 1
    assert num_extending([row("u", [1], 2), row("u", [1], 2), row("u", [2], 3)]) == 1
    assert num_extending([row("u", [], 1), row("u", [], 2)]) == 0
    assert num_extending([]) == 0


def test_the_split_is_the_rows():
    split = given_split(
        [row("u", [1], 2), row("v", [3, 4], 5), row("u", [1, 2], 3)],
        [row("u", [1, 2, 3], 6)],
        [row("u", [1, 2, 3, 6], 7), row("w", [], 1)],
    )
    train = split.train
    assert [train.histories.of(at).tolist() for at in range(2)] == [[1, 2, 3], [3, 4, 5]]
    assert train.first_target.tolist() == [1, 2]
    assert split.validation.targets.tolist() == [6]
    assert split.test.histories.of(0).tolist() == [1, 2, 3, 6]
    assert split.test.histories.of(1).tolist() == []
    np.testing.assert_array_equal(split.test.targets, [7, 1])
    assert (split.strategy, split.num_training_only) == ("given", 1)
