"""Metrics of whole lists, compared with cases worked by hand."""

import pytest
import torch

from sidestep.metrics.ranking import coverage, diversity, invalid_entries, prefix_hits


def test_prefix_hits_by_depth():
    leaves = torch.tensor([[[1, 2, 3], [4, 5, 6], [1, 9, 9]]] * 4)
    targets = torch.tensor([[1, 2, 3], [1, 2, 9], [4, 9, 6], [7, 2, 3]])
    assert prefix_hits(leaves, targets).tolist() == [
        [True, True, True],
        [True, True, False],
        [True, False, False],  # a later code that matches again is no prefix
        [False, False, False],
    ]


def test_a_shorter_prefix_hits_no_deeper_than_it_reaches():
    prefixes = torch.tensor([[[1, -1, -1], [1, 2, -1]]])
    assert prefix_hits(prefixes, torch.tensor([[1, 2, 3]])).tolist() == [[True, True, False]]


def test_diversity_of_three_leaves():
    # LCPs of the pairs: 2, 1, 1 of L = 4, so the mean of 1 - LCP/L is (.5 + .75 + .75) / 3.
    leaves = torch.tensor([[[1, 2, 3, 4], [1, 2, 9, 4], [1, 7, 3, 4], [0, 0, 0, 0]]])
    is_leaf = torch.tensor([[True, True, True, False]])
    assert diversity(leaves, is_leaf).item() == pytest.approx(2 / 3)


def test_diversity_is_one_when_first_codes_differ_and_zero_when_all_are_equal():
    leaves = torch.tensor([[[1, 5], [2, 5], [3, 5]], [[1, 5], [1, 5], [1, 5]]])
    assert diversity(leaves, torch.ones(2, 3, dtype=torch.bool)).tolist() == [1.0, 0.0]


def test_a_single_leaf_has_no_diversity():
    leaves = torch.tensor([[[1, 5], [2, 5]]])
    assert diversity(leaves, torch.tensor([[True, False]])).isnan().all()


def test_coverage_counts_each_item_of_the_catalog_once():
    assert coverage(torch.tensor([[0, 1, -1], [1, 3, 99]]), num_items=6) == 3 / 6


def test_invalid_entries_are_unknown_repeated_or_forbidden():
    items = torch.tensor([[3, 3, 7, -5, 0, -1]])
    assert invalid_entries(items, 7).tolist() == [[False, True, True, True, False, False]]
    is_forbidden = items == 0
    assert invalid_entries(items, 7, is_forbidden=is_forbidden).tolist() == [
        [False, True, True, True, True, False]
    ]


def test_padding_of_a_smaller_set_is_no_leaf():
    ids = torch.tensor([[[0, 0], [0, 1], [0, 1]], [[0, 0], [1, 1], [1, 1]]])
    is_leaf = torch.tensor([[True, True, False], [True, True, False]])
    assert diversity(ids, is_leaf).tolist() == [0.5, 1.0]
