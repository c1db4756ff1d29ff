"""Metrics of targets, compared with printed numbers, worked cases, brute force, another library."""

import importlib
import itertools
from types import ModuleType

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.metrics.ties import NOT_LISTED, hit_rate, ndcg, reciprocal_rank

METRICS = [hit_rate, ndcg, reciprocal_rank]


def ints(*values: int) -> np.ndarray:
    return np.array(values)


def value(metric, rank_before: int, num_tied: int, k: int) -> float:
    return metric(ints(rank_before), ints(num_tied), k).item()


def test_discounts_give_the_printed_dcg_vector():
    # Järvelin & Kekäläinen 2002, section 2.2: the gains G' and the vector DCG' for b = 2. Their
    # discount at rank i >= 2 is log2(i), ours at rank i is log2(i + 1): one rank earlier.
    gains = [3, 2, 3, 0, 0, 1, 2, 2, 3, 0]
    printed = [3, 5, 6.89, 6.89, 6.89, 7.28, 7.99, 8.66, 9.61, 9.61]
    discounts = ndcg(np.arange(9), np.ones(9, dtype=int), 9)
    ours = gains[0] + np.cumsum(gains[1:] * discounts)
    np.testing.assert_allclose(ours, printed[1:], atol=0.006, rtol=0)


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
    alone = metric(np.array(ranks), np.ones(len(ranks), dtype=int), k)
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
    # Compiling ranx takes half a minute; running it uncompiled takes almost no time.
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
    ranks = np.array(
        [
            list(ranking).index(target) if target in ranking else NOT_LISTED
            for ranking, target in zip(rankings, targets, strict=True)
        ]
    )
    ones = np.ones_like(ranks)
    for metric, name in zip(METRICS, names, strict=True):
        assert metric(ranks, ones, k).mean().item() == pytest.approx(theirs[name], abs=1e-9)


@pytest.mark.parametrize(
    ("before", "size", "k", "named"),
    [(0, 1, 0, "k must be"), (0, 0, 5, "num_tied"), (-2, 1, 5, "rank_before")],
)
def test_impossible_ranks_are_refused(before, size, k, named):
    with pytest.raises(ValueError, match=named):
        value(hit_rate, before, size, k)
