import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.given_rows import GivenRow, chains, given_split, sequences_of


def row(user_id, history, target):
    return GivenRow(user_id=user_id, history=tuple(history), target=target)


def rows_of(user_id, sequence, window):
    """A row for every item but the first, with the most recent `window` items before it."""
    return [
        row(user_id, sequence[max(0, at - window) : at], sequence[at])
        for at in range(1, len(sequence))
    ]


def asked(rows):
    """What rows ask for: user, the end of the history that all cuts share, target."""
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
