from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.batches import history_batch, row_batch
from sidestep.data.categories import Categories
from sidestep.data.splits import Rows, leave_one_out
from sidestep.padding import NO_ITEM
from tests.data.test_histories import SEQUENCES, histories_of


@settings(max_examples=40)
@given(SEQUENCES, st.data())
def test_a_batch_is_padded_at_the_end(sequences, data):
    rows = data.draw(st.lists(st.integers(0, len(sequences) - 1), max_size=8))
    batch = history_batch(histories_of(sequences), np.array(rows, dtype=np.int64))
    chosen = [sequences[row] for row in rows]
    width = max([1, *map(len, chosen)])
    expected = [sequence + [NO_ITEM] * (width - len(sequence)) for sequence in chosen]
    assert batch.items.tolist() == expected
    assert batch.items.dtype == batch.lengths.dtype == torch.int64
    assert batch.lengths.tolist() == list(map(len, chosen))


def test_a_batch_of_all_is_the_batch_of_every_row():
    histories = histories_of([[1, 2], [], [3]])
    torch.testing.assert_close(
        history_batch(histories).items, torch.tensor([[1, 2], [-1, -1], [3, -1]])
    )


def test_a_batch_of_nobody_has_a_column():
    assert history_batch(histories_of([])).items.shape == (0, 1)


def test_rows_are_asked_at_the_time_of_their_target():
    histories = replace(histories_of([[1, 2], [], [3]]), timestamps=np.array([5, 9, 100]))
    rows = Rows(histories=histories, targets=np.array([0, 0, 0]), times=np.array([20, 30, 101]))
    nan = float("nan")
    gaps = row_batch(rows, np.array([2, 0, 1])).gaps
    torch.testing.assert_close(gaps, torch.tensor([[1, nan], [4, 11], [nan, nan]]), equal_nan=True)
    # Nobody knows when a user without a moment is recommended to.
    unknown = history_batch(histories).gaps
    torch.testing.assert_close(
        unknown, torch.tensor([[4, nan], [nan, nan], [nan, nan]]), equal_nan=True
    )
    assert history_batch(histories_of([[1, 2]])).gaps is None


def test_gaps_of_nanoseconds_are_exact_differences():
    start = 1_700_000_000_000_000_000
    histories = replace(
        histories_of([[1, 2, 3]]), timestamps=np.array([start, start + 3, start + 4])
    )
    assert history_batch(histories).gaps[0, :2].tolist() == [3, 1]


def test_a_batch_has_the_values_of_its_users():
    known = Categories(
        numbers=np.array([[4, 1], [-1, -1], [2, -1]]),
        weights=np.array([[1, 1], [0, 0], [1, 0]], dtype=np.float32),
    )
    histories = replace(histories_of([[1, 2], [], [3]]), user_categories=known)
    batch = history_batch(histories, np.array([2, 0]))
    assert batch.user_values.numbers.tolist() == [[2, -1], [4, 1]]
    assert batch.user_values.weights.tolist() == [[1, 0], [1, 1]]
    assert history_batch(histories).user_values.numbers.tolist() == known.numbers.tolist()
    for kept in (batch.to("cpu"), batch.latest(1), batch.without_last()):
        assert kept.user_values.numbers.equal(batch.user_values.numbers)
    assert batch.select(torch.tensor([1])).user_values.numbers.tolist() == [[4, 1]]
    assert history_batch(histories_of([[1, 2]])).user_values is None


def test_parts_of_histories_keep_what_is_known_of_their_users():
    known = Categories(numbers=np.array([[4], [1]]), weights=np.ones((2, 1), dtype=np.float32))
    histories = replace(histories_of([[1, 2], [3]]), user_categories=known)
    assert histories.select(np.array([1])).user_categories.numbers.tolist() == [[1]]
    for part in (
        histories.between(np.array([0, 0]), np.array([1, 1])),
        histories.kept(np.array([True, False, False])),
        histories.inputs(),
    ):
        assert part.user_categories.numbers.tolist() == [[4], [1]]
    with pytest.raises(ValueError, match="1 users need as many categories, got 2"):
        replace(histories_of([[1]]), user_categories=known)


def test_every_part_of_a_split_knows_its_users():
    split = leave_one_out(histories_of([[1, 2, 3], [4], [5, 6, 7, 8]]))
    names = {"u0": 0, "u1": 1, "u2": 2}

    def categories_of(user_ids):
        return Categories.of_rows([[(names[user], 1.0)] for user in user_ids])

    known = split.with_users(categories_of)
    assert known.train.histories.user_categories.numbers.tolist() == [[0], [1], [2]]
    assert known.test.histories.user_categories.numbers.tolist() == [[0], [2]]
    assert known.validation.histories.user_categories.numbers.tolist() == [[0], [2]]
    assert known.fingerprint() == split.fingerprint()
