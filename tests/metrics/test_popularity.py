import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.metrics.popularity import concentration, popularity_groups
from sidestep.padding import NO_ITEM

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=40).map(np.array)


def test_thirds_of_the_interactions_worked_by_hand():
    # Of 12 interactions, 0 come before the most popular item, 4 and 7 before the next two, and 9
    # before the three items of one interaction, which all start in the last third.
    assert popularity_groups(np.array([1, 4, 0, 3, 1, 2, 1])).tolist() == [2, 0, 2, 1, 2, 1, 2]


@given(COUNTS)
def test_no_item_is_in_a_group_before_a_more_popular_one(popularity):
    groups = popularity_groups(popularity)
    order = np.argsort(-popularity, kind="stable")
    assert (np.diff(groups[order]) >= 0).all()
    assert (groups[popularity == 0] == 2).all()


@given(COUNTS)
def test_equally_popular_items_are_in_one_group(popularity):
    groups = popularity_groups(popularity)
    for count in set(popularity.tolist()):
        assert len(set(groups[popularity == count].tolist())) == 1


@given(COUNTS)
def test_before_a_head_item_lies_less_than_a_third(popularity):
    is_head = popularity_groups(popularity) == 0
    for item in np.flatnonzero(is_head):
        assert 3 * popularity[popularity > popularity[item]].sum() < popularity.sum()


def test_negative_popularity_is_refused():
    with pytest.raises(ValueError, match="counts interactions, got -1"):
        popularity_groups(np.array([1, -1]))


def test_concentration_worked_by_hand():
    # Counts 0, 0, 1, 3: (-3*0 - 1*0 + 1*1 + 3*3) / (4 * 4)
    items = torch.tensor([[3, 2], [3, NO_ITEM], [3, 99]])
    assert concentration(items, 4) == pytest.approx(10 / 16)


@given(st.integers(1, 20))
def test_concentration_is_0_where_all_are_equal_and_highest_where_all_is_one(num_items):
    assert concentration(torch.arange(num_items)[None], num_items) == pytest.approx(0.0)
    one = torch.zeros(5, 1, dtype=torch.long)
    assert concentration(one, num_items) == pytest.approx(1 - 1 / num_items)
    assert concentration(torch.full((2, 3), NO_ITEM), num_items) == 0.0


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_concentration_is_the_mean_difference_of_all_pairs(listed):
    counts = np.bincount(listed, minlength=10).astype(float)
    pairs = np.abs(counts[:, None] - counts[None]).sum()
    items = torch.tensor(listed)[:, None]
    assert concentration(items, 10) == pytest.approx(pairs / (2 * 10 * counts.sum()))
