"""The shared part of distilling an item head: histories that lose items."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch, UserValues
from sidestep.training.head_distillation import thinned_histories


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5),
    st.integers(0, 2**20),
)
def test_thinned_histories_keep_their_order_and_something(users, seed):
    width = max(1, *map(len, users))
    items = torch.tensor([[*user, *[NO_ITEM] * (width - len(user))] for user in users])
    weights = items.float() * 2
    histories = HistoryBatch(
        items=items, lengths=torch.tensor([len(user) for user in users]), weights=weights
    )
    is_kept = torch.rand(items.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    thinned = thinned_histories(histories, is_kept)
    for row, user in enumerate(users):
        kept = [item for item, stays in zip(user, is_kept[row], strict=False) if stays] or user
        assert thinned.items[row].tolist() == [*kept, *[NO_ITEM] * (width - len(kept))]
        assert thinned.lengths[row] == len(kept)
        assert thinned.weights[row, : len(kept)].tolist() == [2.0 * item for item in kept]


def test_a_gap_reaches_to_the_next_item_that_is_kept():
    histories = HistoryBatch(
        items=torch.tensor([[3, 4, 5, NO_ITEM], [1, 2, NO_ITEM, NO_ITEM]]),
        lengths=torch.tensor([3, 2]),
        gaps=torch.tensor([[10.0, 20.0, 5.0, 99.0], [1.0, 7.0, 99.0, 99.0]]),
    )
    is_kept = torch.tensor([[True, False, True, True], [False, True, True, True]])
    thinned = thinned_histories(histories, is_kept)
    assert thinned.items.tolist() == [[3, 5, NO_ITEM, NO_ITEM], [2, NO_ITEM, NO_ITEM, NO_ITEM]]
    assert thinned.gaps[0, :2].tolist() == [30.0, 5.0]
    assert thinned.gaps[1, :1].tolist() == [7.0]


def test_thinned_histories_are_those_of_the_same_users():
    histories = HistoryBatch(
        items=torch.tensor([[3, 4]]),
        lengths=torch.tensor([2]),
        user_values=UserValues(numbers=torch.tensor([[5]]), weights=torch.ones(1, 1)),
    )
    thinned = thinned_histories(histories, torch.tensor([[True, False]]))
    assert thinned.user_values is histories.user_values
