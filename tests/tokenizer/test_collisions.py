from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.tokenizer.codebooks import ResidualCodebooks
from sidestep.tokenizer.collisions import (
    num_distinct,
    reassign_last_codes,
    resolve_collisions,
    with_numbers,
)
from sidestep.tokenizer.published import read_published
from sidestep.tokenizer.tokenizer import Fit


@st.composite
def colliding(draw):
    """Semantic IDs in which no prefix has more items than the last level has codes."""
    num_codes = draw(st.integers(2, 5))
    groups = draw(st.lists(st.integers(1, num_codes), min_size=1, max_size=4))
    prefixes = np.repeat(np.arange(len(groups)), groups)
    last = draw(
        st.lists(st.integers(0, num_codes - 1), min_size=len(prefixes), max_size=len(prefixes))
    )
    order = draw(st.permutations(range(len(prefixes))))
    semantic_ids = np.stack([prefixes % 2, prefixes // 2, last], axis=1)[order]
    seed = draw(st.integers(0, 99))
    generator = np.random.default_rng(seed)
    return (
        semantic_ids.astype(np.int32),
        generator.normal(size=(len(prefixes), 2)),
        generator.normal(size=(num_codes, 2)),
    )


def groups_of(semantic_ids):
    prefixes = [tuple(row) for row in semantic_ids[:, :-1].tolist()]
    return {
        prefix: [index for index, other in enumerate(prefixes) if other == prefix]
        for prefix in sorted(set(prefixes))
    }


def cost(items, codes, residuals, codewords):
    return float(np.square(residuals[items] - codewords[list(codes)]).sum())


@given(colliding())
@settings(max_examples=40)
def test_reassignment_is_free_of_collisions_and_of_minimum_cost(case):
    semantic_ids, residuals, codewords = case
    before = semantic_ids.copy()
    resolved = reassign_last_codes(semantic_ids, residuals, codewords)
    assert np.array_equal(semantic_ids, before)  # the argument is left alone
    assert np.array_equal(resolved[:, :-1], semantic_ids[:, :-1])
    assert num_distinct(resolved) == len(resolved)
    for items in groups_of(semantic_ids).values():
        last = semantic_ids[items, -1].tolist()
        if len(set(last)) == len(last):
            assert resolved[items, -1].tolist() == last
            continue
        best = min(
            cost(items, codes, residuals, codewords)
            for codes in permutations(range(len(codewords)), len(items))
        )
        mine = cost(items, resolved[items, -1], residuals, codewords)
        assert mine == pytest.approx(best, rel=1e-9)


@given(colliding())
@settings(max_examples=15)
def test_the_number_of_distinct_semantic_ids_is_counted(case):
    semantic_ids, _, _ = case
    assert num_distinct(semantic_ids) == len({tuple(row) for row in semantic_ids.tolist()})


def test_worked_example():
    # Items 0 and 1 both want code 0 (at 0). Moving item 1 (at 1) to code 1 (at 3) costs
    # 0 + 4; moving item 0 would cost 9 + 1. Item 2 stands alone and stays, though code 1 is far.
    semantic_ids = np.array([[7, 0], [7, 0], [5, 1]])
    residuals = np.array([[0.0], [1.0], [0.0]])
    codewords = np.array([[0.0], [3.0], [9.0]])
    resolved = reassign_last_codes(semantic_ids, residuals, codewords)
    assert resolved.tolist() == [[7, 0], [7, 1], [5, 1]]


def test_with_one_level_all_items_are_one_group():
    semantic_ids = np.array([[0], [0], [2]])
    residuals = np.array([[0.0], [1.0], [2.0]])
    resolved = reassign_last_codes(semantic_ids, residuals, np.array([[0.0], [1.0], [2.0]]))
    assert resolved.tolist() == [[0], [1], [2]]


def two_of_three():
    """A fit in which items 0 and 2 collide."""
    codebooks = ResidualCodebooks((np.zeros((2, 1), np.float32), np.eye(2, 1, dtype=np.float32)))
    return Fit(tokenizer=codebooks, semantic_ids=np.array([[0, 0], [0, 1], [0, 0]]))


def test_without_a_policy_buckets_stay():
    resolved = resolve_collisions(two_of_three(), np.zeros((3, 1)), policy="none")
    assert resolved.semantic_ids.tolist() == [[0, 0], [0, 1], [0, 0]]
    assert resolved.codebook_sizes == (2, 2)


@pytest.mark.parametrize(("policy", "num_moved"), [("none", 0), ("extra", 1), ("reassign", 1)])
def test_what_a_policy_moves_is_counted(policy, num_moved):
    fit = replace(two_of_three(), semantic_ids=np.array([[0, 0], [1, 1], [0, 0]]))
    assert resolve_collisions(fit, np.zeros((3, 1)), policy=policy).num_moved == num_moved


def test_an_extra_level_is_as_large_as_the_largest_bucket():
    resolved = resolve_collisions(two_of_three(), np.zeros((3, 1)), policy="extra")
    assert resolved.semantic_ids.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert resolved.codebook_sizes == (2, 2, 2)


@given(colliding())
@settings(max_examples=20)
def test_extra_codes_number_the_items_of_each_bucket_in_their_order(case):
    semantic_ids, _, _ = case
    numbered = with_numbers(semantic_ids)
    assert np.array_equal(numbered[:, :-1], semantic_ids)
    rows = [tuple(row) for row in semantic_ids.tolist()]
    assert numbered[:, -1].tolist() == [rows[:i].count(row) for i, row in enumerate(rows)]
    assert num_distinct(numbered) == len(rows)


def test_a_group_larger_than_the_codebook_is_named():
    semantic_ids = np.array([[1, 4, 0], [1, 4, 1], [1, 4, 1], [2, 0, 0], [2, 0, 0]])
    words = r"1 prefix groups.*\(1, 4\), has 3 items for 2 codes. Raise the last codebook size to 3"
    with pytest.raises(ValueError, match=words):
        reassign_last_codes(semantic_ids, np.zeros((5, 1)), np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("file", "distinct"),
    [
        ("rkmeans_native", 3469),
        ("rqvae_native", 3790),
        ("letter_native", 4317),
        ("rkmeans_zcr", 4344),
        ("rqvae_zcr", 4344),
    ],
)
def test_published_semantic_ids_collide_as_often_as_their_authors_say(real_data, file, distinct):
    path = real_data / "scientific" / "semantic_ids" / f"{file}.index.json"
    published = read_published(path, [str(item) for item in range(4344)])
    assert num_distinct(published.semantic_ids) == distinct
    assert max(published.codebook_sizes) <= 256
