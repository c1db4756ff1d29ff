import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.data.batches import history_batch
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
