import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.batches import history_batch
from sidestep.data.histories import Histories
from sidestep.padding import NO_ITEM

SEQUENCES = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6)


def histories_of(sequences, **extra):
    return Histories(
        items=np.array([item for sequence in sequences for item in sequence], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, sequences)]),
        user_ids=tuple(f"u{row}" for row in range(len(sequences))),
        **extra,
    )


def lists(histories):
    return [histories.of(row).tolist() for row in range(len(histories))]


@settings(max_examples=40)
@given(SEQUENCES, st.data())
def test_a_selection_is_those_users_in_that_order(sequences, data):
    rows = data.draw(st.lists(st.integers(0, len(sequences) - 1), max_size=8))
    chosen = histories_of(sequences).select(np.array(rows, dtype=np.int64))
    assert lists(chosen) == [sequences[row] for row in rows]
    assert chosen.user_ids == tuple(f"u{row}" for row in rows)


def test_timestamps_and_events_stay_with_their_items():
    histories = histories_of(
        [[1, 2, 3], [4]], timestamps=np.array([5, 6, 7, 8]), events=np.array(["a", "b", "c", "d"])
    )
    cut = histories.between(np.array([1, 0]), np.array([3, 1])).select(np.array([1, 0]))
    assert cut.timestamps.tolist() == [8, 6, 7]
    assert cut.events.tolist() == ["d", "b", "c"]


def index_of(known: dict[str, int]):
    """A catalog as small as a dictionary."""
    return lambda item_ids: np.array([known.get(item_id, NO_ITEM) for item_id in item_ids])


def test_unknown_items_are_dropped_and_counted():
    histories, num_unknown = Histories.from_item_ids(
        {"ann": ["x", "gone", "y"], "bob": ["gone"], "cem": []}, index_of({"x": 7, "y": 2})
    )
    assert lists(histories) == [[7, 2], [], []]
    assert num_unknown.tolist() == [1, 1, 0]
    assert histories.user_ids == ("ann", "bob", "cem")


def test_nobody_is_a_legal_set_of_users():
    histories, num_unknown = Histories.from_item_ids({}, index_of({}))
    assert len(histories) == len(history_batch(histories).items) == len(num_unknown) == 0
    assert history_batch(histories).items.shape == (0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.array([0, 2])}, "need 3 offsets"),
        ({"offsets": np.array([0, 1, 2])}, "from 0 to the 3 items"),
        ({"offsets": np.array([0, 4, 3])}, "never fall"),
        ({"items": np.array([1, NO_ITEM, 3])}, "start at 0"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(change, message):
    good = {"items": np.array([1, 2, 3]), "offsets": np.array([0, 2, 3]), "user_ids": ("a", "b")}
    Histories(**good)
    with pytest.raises(ValueError, match=message):
        Histories(**{**good, **change})


def test_rows_and_positions_out_of_range_are_refused():
    histories = histories_of([[1], [2]])
    with pytest.raises(IndexError):
        histories.of(-1)
    with pytest.raises(IndexError):
        histories.select(np.array([2]))
    with pytest.raises(ValueError, match="lie within"):
        histories.between(np.array([0, 0]), np.array([1, 2]))
