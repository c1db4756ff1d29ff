from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.tokenizer import balance
from sidestep.tokenizer.balance import balanced_codes, sinkhorn_prices
from sidestep.tokenizer.codebooks import nearest


def cost(vectors, codewords, codes):
    return float(np.square(vectors - codewords[np.asarray(codes)]).sum(dtype=np.float64))


def drawn(num_items, num_codes, seed):
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(num_items, 2)).astype(np.float32)
    return vectors, generator.normal(size=(num_codes, 2)).astype(np.float32)


@given(st.integers(1, 7), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=30)
def test_small_assignments_are_the_cheapest_of_all_balanced_ones(num_items, num_codes, seed):
    vectors, codewords = drawn(num_items, num_codes, seed)
    codes = balanced_codes(vectors, codewords, np.zeros(num_codes, dtype=np.float32))
    base, extra = divmod(num_items, num_codes)
    best = min(
        cost(vectors, codewords, row)
        for row in set(permutations((list(range(num_codes)) * (base + 1)), num_items))
        if sorted(np.bincount(row, minlength=num_codes))
        == [base] * (num_codes - extra) + [base + 1] * extra
    )
    assert cost(vectors, codewords, codes) == pytest.approx(best, rel=1e-6)


@given(st.integers(1, 200), st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=40)
def test_sizes_differ_by_at_most_one(num_items, num_codes, seed):
    vectors, codewords = drawn(num_items, num_codes, seed)
    vectors[: num_items // 3] = 0  # items about which nothing is known
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(balance, "EXACT_ITEMS", 0)
        codes = balanced_codes(vectors, codewords, np.zeros(num_codes, dtype=np.float32))
    assert np.ptp(np.bincount(codes, minlength=num_codes)) <= 1


def test_prices_bring_large_assignments_near_the_exact_one(monkeypatch):
    vectors, codewords = drawn(500, 20, 0)
    zeros = np.zeros(20, dtype=np.float32)
    exact = cost(vectors, codewords, balanced_codes(vectors, codewords, zeros))
    monkeypatch.setattr(balance, "EXACT_ITEMS", 0)
    without = cost(vectors, codewords, balanced_codes(vectors, codewords, zeros))
    prices = sinkhorn_prices(
        vectors, codewords, zeros, temperatures=np.geomspace(0.5, 0.005, 60).tolist()
    )
    priced = cost(vectors, codewords, balanced_codes(vectors, codewords, prices))
    assert priced < 1.04 * exact < 1.2 * exact < without


def test_with_the_right_prices_every_item_simply_takes_the_nearest_code():
    vectors, codewords = drawn(2000, 10, 0)
    zeros = np.zeros(10, dtype=np.float32)
    unpriced = np.bincount(nearest(vectors, codewords), minlength=10)
    prices = sinkhorn_prices(
        vectors, codewords, zeros, temperatures=np.geomspace(0.5, 0.005, 60).tolist()
    )
    counts = np.bincount(nearest(vectors, codewords, prices), minlength=10)
    assert abs(counts - 200).max() < 20 < abs(unpriced - 200).max()
    assert prices.mean() == pytest.approx(0, abs=1e-6)


def test_parts_of_the_items_give_the_same_prices(monkeypatch):
    vectors, codewords = drawn(100, 5, 0)
    zeros = np.zeros(5, dtype=np.float32)
    at_once = sinkhorn_prices(vectors, codewords, zeros, temperatures=[0.1] * 3)
    monkeypatch.setattr("sidestep.tokenizer.codebooks._CHUNK_BYTES", 7 * 4 * 5)
    in_parts = sinkhorn_prices(vectors, codewords, zeros, temperatures=[0.1] * 3)
    np.testing.assert_allclose(in_parts, at_once, rtol=1e-5)
