import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.objectives.contrastive import (
    distinct_others,
    in_batch_info_nce,
    info_nce,
    share_below,
)


def test_the_loss_is_minus_the_log_of_the_targets_share():
    # e^y: 2 of 2 + 1 + 5 = 8, and 1 of 1 + 1.
    positives = torch.log(torch.tensor([2.0, 1.0]))
    negatives = torch.log(torch.tensor([[1.0, 5.0], [1.0, 0.0]]))
    assert info_nce(positives, negatives).tolist() == pytest.approx([math.log(4), math.log(2)])


def test_without_others_nothing_is_lost():
    assert info_nce(torch.tensor([3.0]), torch.empty(1, 0)).tolist() == [0.0]


def test_scores_that_all_differ_by_a_constant_lose_the_same():
    positives, negatives = torch.tensor([1.0]), torch.tensor([[0.5, -2.0]])
    shifted = info_nce(positives + 7, negatives + 7)
    assert shifted.tolist() == pytest.approx(info_nce(positives, negatives).tolist(), abs=1e-5)


def test_a_row_is_told_from_the_columns_of_other_groups():
    # e^s: rows (2, 1, 5), (1, 3, 4) and (1, 1, 2); the first two rows are of one group.
    scores = torch.tensor([[2.0, 1.0, 5.0], [1.0, 3.0, 4.0], [1.0, 1.0, 2.0]]).log()
    losses = in_batch_info_nce(scores, torch.tensor([7, 7, 3]))
    shares = [2 / (2 + 5), 3 / (3 + 4), 2 / (1 + 1 + 2)]
    assert losses.tolist() == pytest.approx([-math.log(share) for share in shares], abs=1e-6)


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_others_are_distinct_never_the_own_and_as_many_as_there_are(size, number, seed):
    torch.manual_seed(seed)
    own = torch.arange(size).repeat(2)
    drawn = distinct_others(own, size, number)
    assert drawn.shape == (2 * size, min(number, size - 1))
    for row, others in zip(own.tolist(), drawn.tolist(), strict=True):
        assert len(set(others)) == len(others)
        assert set(others) <= set(range(size)) - {row}


def test_others_are_drawn_alike_often():
    torch.manual_seed(0)
    drawn = distinct_others(torch.full((4000,), 2), 5, 2)
    shares = drawn.flatten().bincount(minlength=5) / 4000
    assert shares.tolist() == pytest.approx([0.5, 0.5, 0, 0.5, 0.5], abs=0.04)


def test_the_share_below_counts_ties_half():
    shares = share_below(torch.tensor([1.0, 1.0]), torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    assert shares.tolist() == [0.5, 0.75]
