"""Equal sets of codes become different ones, by one other code each at least cost."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.tokenizer.collisions import has_room, num_distinct, resolve_collisions
from sidestep.tokenizer.opq import Opq, OpqConfig
from sidestep.tokenizer.set_collisions import ParallelCodebooks, reassign_one_code
from tests.tokenizer.contract import scattered

# Two codebooks on a line each.
LEVELS = (np.array([[0.0], [1.0], [10.0]]), np.array([[0.0], [3.0]]))


def resolved(codes, quantised, **more):
    parts = [np.array(part, dtype=float)[:, None] for part in zip(*quantised, strict=True)]
    return reassign_one_code(np.array(codes, dtype=np.int32), parts, LEVELS, **more).tolist()


def test_the_cheapest_code_of_any_codebook_changes():
    # Item 1 would pay .4² - .6² to change its first code, item 0 1 - 0: so item 1 moves to 1.
    assert resolved([[0, 0], [0, 0]], [[0.0, 0.0], [0.4, 0.0]]) == [[0, 0], [1, 0]]
    # Here the second codebook is cheaper: (3 - 1.4)² - 1.4² against 1.
    assert resolved([[0, 0], [0, 0]], [[0.0, 0.0], [0.0, 1.4]]) == [[0, 0], [0, 1]]


def test_codes_that_another_item_has_are_not_free():
    codes, quantised = [[0, 0], [0, 0], [1, 0]], [[0.0, 0.0], [0.4, 0.0], [1.0, 0.0]]
    assert resolved(codes, quantised) == [[0, 0], [0, 1], [1, 0]]


def test_items_that_came_before_keep_their_codes():
    old = np.array([[0, 0], [0, 1]])
    assert resolved([[0, 0]], [[0.2, 0.0]], existing=old) == [[1, 0]]
    assert resolved([[2, 1]], [[9.0, 3.0]], existing=old) == [[2, 1]]


def test_a_bucket_without_room_is_refused_or_shared():
    codes, quantised = [[0, 0]] * 5, [[float(item) / 10, 0.0] for item in range(5)]
    with pytest.raises(ValueError, match=r"5 items have the codes \(0, 0\), and only 4 sets"):
        resolved(codes, quantised)
    shared = resolved(codes, quantised, full_groups="share")
    assert len({tuple(row) for row in shared}) == 4


@st.composite
def collisions(draw):
    """Codes with collisions, and what the codebooks quantise."""
    row = st.tuples(st.integers(0, 2), st.integers(0, 1))
    codes = draw(st.lists(row, min_size=2, max_size=5))
    position = st.floats(-1, 11, width=16)
    return codes, [[draw(position), draw(position)] for _ in codes]


@given(collisions())
@settings(max_examples=100)
def test_one_bucket_is_resolved_at_the_least_cost(given_codes):
    _, quantised = given_codes
    quantised = quantised[:3]
    own = (1, 0)

    def distance(item, codes):
        return sum(
            (quantised[item][book] - float(LEVELS[book][code, 0])) ** 2
            for book, code in enumerate(codes)
        )

    near = [own, (0, 0), (2, 0), (1, 1)]
    found = resolved([own] * len(quantised), quantised)
    cost = sum(distance(item, codes) for item, codes in enumerate(found))
    least = min(
        sum(distance(item, codes) for item, codes in enumerate(chosen))
        for chosen in itertools.permutations(near, len(quantised))
    )
    assert cost == pytest.approx(least, abs=1e-6)
    assert len({tuple(codes) for codes in found}) == len(quantised)


@given(collisions())
@settings(max_examples=100)
def test_all_items_differ_and_at_most_one_code_of_each_has_changed(given_codes):
    codes, quantised = given_codes
    try:
        found = resolved(codes, quantised)
    except ValueError:
        return  # six sets in all: five items may leave a bucket without room
    assert len({tuple(row) for row in found}) == len(codes)
    for before, after in zip(codes, found, strict=True):
        assert sum(own != other for own, other in zip(before, after, strict=True)) <= 1
    for before in set(codes):  # somebody keeps the codes of every bucket
        assert list(before) in found or codes.count(before) > 1


def test_product_codes_are_parallel_and_resolved_as_sets():
    vectors = scattered(200)
    fit = Opq(OpqConfig(codebook_sizes=(8, 4, 4))).fit(vectors, seed=0)
    assert isinstance(fit.tokenizer, ParallelCodebooks)
    assert num_distinct(fit.semantic_ids) < 100
    crowded = Opq(OpqConfig(codebook_sizes=(16, 16))).fit(vectors, seed=0)
    assert has_room(crowded, is_unordered=True)
    found = resolve_collisions(crowded, vectors, policy="reassign", is_unordered=True)
    assert num_distinct(found.semantic_ids) == 200
    assert (found.semantic_ids[:, 0] != crowded.semantic_ids[:, 0]).any()
    assert (found.semantic_ids[:, 1] != crowded.semantic_ids[:, 1]).any()
