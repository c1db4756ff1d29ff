import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidestep.data.histories import Histories
from sidestep.data.transitions import transition_counts


def histories_of(rows):
    return Histories(
        items=np.array([item for row in rows for item in row], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, rows)]),
        user_ids=tuple(f"u{row}" for row in range(len(rows))),
    )


def test_a_transition_never_crosses_from_one_user_to_the_next():
    counts = transition_counts(
        histories_of([[0, 1], [2, 0, 0]]), 3, max_distance=9, distance_decay=0.5
    )
    assert counts.toarray().tolist() == [[1, 1, 0], [0, 0, 0], [1.5, 0, 0]]


rows = st.lists(st.lists(st.integers(0, 4), max_size=7), max_size=4)


@given(rows, st.integers(1, 8))
def test_without_decay_every_pair_within_the_distance_counts_once(rows, max_distance):
    counts = transition_counts(histories_of(rows), 5, max_distance=max_distance, distance_decay=1.0)
    num_after = [len(row) - 1 - place for row in rows for place in range(len(row))]
    assert counts.sum() == sum(min(max_distance, number) for number in num_after)
    assert counts.has_canonical_format  # each pair of items has one entry


def test_without_interactions_there_are_no_transitions():
    assert transition_counts(histories_of([[]]), 2, max_distance=3, distance_decay=1.0).nnz == 0
