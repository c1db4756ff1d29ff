"""Metrics against printed numbers, worked cases, brute force and an independent implementation."""

import importlib
import itertools
from types import ModuleType

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sidestep.metrics.ranking import (
    NOT_LISTED,
    coverage,
    diversity,
    hit_rate,
    invalid_entries,
    ndcg,
    prefix_hits,
    reciprocal_rank,
)

METRICS = [hit_rate, ndcg, reciprocal_rank]


def ints(*values: int) -> Tensor:
    return torch.tensor(values)


def value(metric, rank_before: int, num_tied: int, k: int) -> float:
    return metric(ints(rank_before), ints(num_tied), k).item()


def test_discounts_give_the_printed_dcg_vector():
    # Järvelin & Kekäläinen 2002, section 2.2: the gains G' and the vector DCG' for b = 2. Their
    # discount at rank i >= 2 is log2(i), ours at rank i is log2(i + 1): theirs is ours one later.
    gains = [3, 2, 3, 0, 0, 1, 2, 2, 3, 0]
    printed = [3, 5, 6.89, 6.89, 6.89, 7.28, 7.99, 8.66, 9.61, 9.61]
    discounts = ndcg(torch.arange(9), torch.ones(9, dtype=torch.long), 9)
    ours = gains[0] + (torch.tensor(gains[1:]) * discounts).cumsum(0)
    torch.testing.assert_close(ours, torch.tensor(printed[1:]).double(), atol=0.006, rtol=0)


def test_a_single_item_in_third_place():
    assert value(hit_rate, 2, 1, 2) == 0.0
    assert value(hit_rate, 2, 1, 3) == 1.0
    assert value(ndcg, 2, 1, 10) == pytest.approx(0.5)  # 1 / log2(4)
    assert value(reciprocal_rank, 2, 1, 10) == pytest.approx(1 / 3)


def test_ties_that_straddle_the_cut():
    # P = 3, G = 4, K = 5: two of the four places count, at ranks 4 and 5.
    assert value(hit_rate, 3, 4, 5) == 0.5
    assert value(ndcg, 3, 4, 5) == pytest.approx((1 / np.log2(5) + 1 / np.log2(6)) / 4)
    assert value(reciprocal_rank, 3, 4, 5) == pytest.approx((1 / 4 + 1 / 5) / 4)


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_not_listed_is_worth_nothing(metric):
    values = metric(ints(NOT_LISTED, 5, 99), ints(3, 1, 7), 5)
    assert values.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("metric", METRICS)
@given(before=st.integers(0, 7), size=st.integers(1, 5), k=st.integers(1, 10))
@settings(max_examples=25)
def test_the_expectation_is_the_average_over_all_orders_of_the_ties(metric, before, size, k):
    ranks = [
        before + order.index(0)  # item 0 is the target
        for order in itertools.permutations(range(size))
    ]
    alone = metric(torch.tensor(ranks), torch.ones(len(ranks), dtype=torch.long), k)
    assert value(metric, before, size, k) == pytest.approx(alone.mean().item(), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@given(before=st.integers(1, 60), size=st.integers(1, 20), k=st.integers(1, 50))
@settings(max_examples=40)
def test_moving_a_hit_up_never_lowers_a_metric(metric, before, size, k):
    assert value(metric, before - 1, size, k) >= value(metric, before, size, k)
    assert value(metric, before, size, k) <= value(metric, before, size, k + 1) <= 1.0
    assert value(metric, before, size, k) >= value(metric, NOT_LISTED, size, k)


@pytest.fixture(scope="module")
def ranx() -> ModuleType:
    # Compiling ranx takes half a minute, and running it uncompiled no time at all.
    numba.config.DISABLE_JIT = True
    return importlib.import_module("ranx")


@pytest.mark.parametrize("k", [1, 5, 10])
def test_ranx_computes_the_same_on_random_rankings(ranx, k):
    generator = np.random.default_rng(0)
    rankings = [generator.permutation(30)[:20] for _ in range(40)]
    targets = generator.integers(30, size=40)
    qrels = ranx.Qrels({f"u{u}": {f"i{t}": 1} for u, t in enumerate(targets)})
    run = ranx.Run(
        {
            f"u{u}": {f"i{item}": float(100 - rank) for rank, item in enumerate(ranking)}
            for u, ranking in enumerate(rankings)
        }
    )
    names = [f"hit_rate@{k}", f"ndcg@{k}", f"mrr@{k}"]
    theirs = ranx.evaluate(qrels, run, names, make_comparable=True)
    ranks = torch.tensor(
        [
            list(ranking).index(target) if target in ranking else NOT_LISTED
            for ranking, target in zip(rankings, targets, strict=True)
        ]
    )
    ones = torch.ones_like(ranks)
    for metric, name in zip(METRICS, names, strict=True):
        assert metric(ranks, ones, k).mean().item() == pytest.approx(theirs[name], abs=1e-9)


@pytest.mark.parametrize(
    ("before", "size", "k", "named"),
    [(0, 1, 0, "k must be"), (0, 0, 5, "num_tied"), (-2, 1, 5, "rank_before")],
)
def test_impossible_ranks_are_refused(before, size, k, named):
    with pytest.raises(ValueError, match=named):
        value(hit_rate, before, size, k)


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
