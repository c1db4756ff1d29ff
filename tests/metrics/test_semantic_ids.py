import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sidestep.metrics import semantic_ids as metrics
from sidestep.metrics.semantic_ids import (
    chance_agreement,
    chance_explained_variance,
    explained_variance,
    neighbour_agreement,
    pair_agreement,
    prefix_numbers,
)

# Items 0 and 1 share their whole ID, and their first code with item 2.
IDS = np.array([[0, 0], [0, 0], [0, 1], [1, 0]])
PREFIXES = prefix_numbers(IDS)

SHAPES = st.tuples(st.integers(2, 12), st.integers(1, 3))
ANY_IDS = SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 2)))


@given(ANY_IDS)
def test_prefixes_have_the_same_number_if_and_only_if_they_are_the_same(ids):
    prefixes = prefix_numbers(ids)
    for depth in range(1, ids.shape[1] + 1):
        same_prefix = (ids[:, None, :depth] == ids[None, :, :depth]).all(axis=2)
        numbers = prefixes[:, depth - 1]
        assert ((numbers[:, None] == numbers[None, :]) == same_prefix).all()
        assert sorted(set(numbers.tolist())) == list(range(numbers.max() + 1))


def test_explained_variance_worked_by_hand():
    # Mean 4, squares 16 + 4 + 0 + 36 = 56. Depth 1: 3 · (2 - 4)² + 36 = 48; 2: 2 · 9 + 0 + 36 = 54.
    vectors = np.array([[0.0], [2.0], [4.0], [10.0]])
    assert explained_variance(vectors, PREFIXES) == pytest.approx([48 / 56, 54 / 56])
    assert chance_explained_variance(PREFIXES) == pytest.approx([1 / 3, 2 / 3])
    assert explained_variance(np.full((4, 2), 0.1, dtype=np.float32), PREFIXES) is None


@given(ANY_IDS, st.data())
def test_a_longer_prefix_never_explains_less(ids, data):
    vectors = data.draw(arrays(np.int64, (len(ids), 2), elements=st.integers(-3, 3)))
    explained = explained_variance(vectors.astype(np.float64), prefix_numbers(ids))
    if explained is not None:
        assert (np.diff(explained) >= -1e-9).all()
        assert explained.min() >= 0
        assert explained.max() <= 1 + 1e-9


def test_chance_is_what_ids_dealt_at_random_explain():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(30, 2))
    prefixes = prefix_numbers(generator.integers(0, 3, size=(30, 2)))
    dealt = [explained_variance(generator.permutation(vectors), prefixes) for _ in range(500)]
    assert np.mean(dealt, axis=0) == pytest.approx(chance_explained_variance(prefixes), abs=0.02)


def test_neighbours_worked_by_hand():
    degrees = np.radians([0, 10, 30, 90])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1) * [[1], [9], [2], [5]]
    every = np.arange(4)
    # The nearest of 0, 1, 2, 3 are 1, 0, 1, 2.
    shares = neighbour_agreement(vectors, PREFIXES, k=1, queries=every)
    assert shares == pytest.approx([3 / 4, 2 / 4])
    # With all others as neighbours it is the share of all pairs: 6 and 2 of 12.
    shares = neighbour_agreement(vectors, PREFIXES, k=9, queries=every)
    assert shares == pytest.approx([6 / 12, 2 / 12])
    assert chance_agreement(PREFIXES, np.ones(4, dtype=int)) == pytest.approx([6 / 12, 2 / 12])
    # Only item 3 is a query; its nearest two are 2 and 1.
    assert neighbour_agreement(vectors, PREFIXES, k=2, queries=np.array([3])) == pytest.approx(0)


def test_neighbours_that_tie_share_the_last_place(monkeypatch):
    # Item 3 is nearest to item 0. Items 1 and 2 tie for the second place, so each counts one half.
    vectors = np.array([[1.0, 0.0], [1.0, 1.0], [2.0, 2.0], [9.0, 1.0]])
    prefixes = prefix_numbers(np.array([[0], [0], [1], [1]]))
    shares = neighbour_agreement(vectors, prefixes, k=2, queries=np.array([0]))
    assert shares == pytest.approx([0.5 / 2])
    monkeypatch.setattr(metrics, "_CHUNK_BYTES", 1)
    every = np.arange(4)
    assert neighbour_agreement(vectors, prefixes, k=2, queries=every) == pytest.approx(
        np.mean(
            [
                neighbour_agreement(vectors, prefixes, k=2, queries=every[i : i + 1])[0]
                for i in range(4)
            ]
        )
    )


@settings(max_examples=40)
@given(ANY_IDS, st.data())
def test_agreement_is_counted_over_pairs_and_chance_over_draws(ids, data):
    prefixes, num_items = prefix_numbers(ids), len(ids)
    pairs = data.draw(
        st.lists(st.tuples(*[st.integers(0, num_items - 1)] * 2), min_size=1, max_size=9)
    )
    counts = data.draw(arrays(np.int64, num_items, elements=st.integers(0, 4)))
    drawn = [(i, j) for i in range(num_items) for j in range(num_items) if i != j]
    weights = np.array([counts[i] * counts[j] for i, j in drawn])
    for depth in range(1, ids.shape[1] + 1):

        def share(among, depth=depth):
            return [float((ids[i, :depth] == ids[j, :depth]).all()) for i, j in among]

        found = pair_agreement(*np.array(pairs).T, prefixes)[depth - 1]
        assert found == pytest.approx(np.mean(share(pairs)))
        chance = chance_agreement(prefixes, counts)[depth - 1]
        expected = np.average(share(drawn), weights=weights) if weights.any() else 0.0
        assert chance == pytest.approx(expected)


def test_items_of_their_own_agree_by_chance_exactly_never():
    prefixes = prefix_numbers(np.arange(1000)[:, None] % 997)
    counts = np.full(1000, 10**5)
    assert chance_agreement(prefix_numbers(np.arange(1000)[:, None]), counts)[0] == 0.0
    assert chance_agreement(prefixes, counts)[0] > 0.0
