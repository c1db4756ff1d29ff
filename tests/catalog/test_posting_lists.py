import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.posting_lists import PostingLists


@st.composite
def catalogs(draw):
    """Codes of a few items; with large codebooks, pairs get no lists."""
    sizes = draw(st.sampled_from([(2, 3, 2), (3,), (20, 30, 4)]))
    row = st.tuples(*[st.integers(0, min(size, 4) - 1) for size in sizes])
    return np.array(draw(st.lists(row, min_size=1, max_size=12)), dtype=np.int32), sizes


def items_of(lists, number):
    start, stop = (int(end) for end in lists.bounds(torch.tensor([number])))
    return lists.items[start:stop].tolist()


def with_actions(codes, sizes, *actions):
    """The items with all actions; plain Python."""
    starts = [0, *itertools.accumulate(sizes)]
    return [
        item
        for item, row in enumerate(codes.tolist())
        if set(actions) <= {start + code for start, code in zip(starts, row, strict=False)}
    ]


@given(catalogs())
@settings(max_examples=25)
def test_lists_hold_the_items_of_a_code_and_of_two_ascending(catalog):
    codes, sizes = catalog
    lists = PostingLists.build(codes, sizes)
    for action in range(lists.num_actions):
        assert items_of(lists, action) == with_actions(codes, sizes, action)
    if lists.first_pair is not None:
        books = lists.codebook_of.tolist()
        pairs = [
            (one, other)
            for one, other in itertools.permutations(range(lists.num_actions), 2)
            if books[one] != books[other]
        ]
        one, other = torch.tensor(pairs).T
        for pair, number in zip(pairs, lists.pair_list(one, other).tolist(), strict=True):
            assert items_of(lists, number) == with_actions(codes, sizes, *pair)


@given(catalogs(), st.data())
@settings(max_examples=25)
def test_counts_are_those_of_the_available_items(catalog, data):
    codes, sizes = catalog
    lists = PostingLists.build(codes, sizes)
    flags = data.draw(st.lists(st.booleans(), min_size=len(codes), max_size=len(codes)))
    there = {item for item, flag in enumerate(flags) if flag}
    counts = lists.counts(torch.tensor(flags))
    assert len(counts) == (2 if lists.first_pair is None else 2 + lists.num_actions)
    assert not counts[-1].any()
    for action in range(lists.num_actions):
        assert counts[0, action] == len(there & set(with_actions(codes, sizes, action)))
        for above in range(len(counts) - 2):
            both = there & set(with_actions(codes, sizes, action, above))
            is_other = lists.codebook_of[action] != lists.codebook_of[above]
            assert counts[1 + above, action] == (len(both) if is_other else 0)


def test_pairs_get_lists_where_an_average_pair_has_an_item():
    codes = np.zeros((6, 2), dtype=np.int32)
    assert PostingLists.build(codes, (2, 3)).first_pair is not None
    assert PostingLists.build(codes, (2, 4)).first_pair is None
    assert PostingLists.build(codes[:, :1], (2,)).first_pair is None
    many = np.zeros((6, 17), dtype=np.int32)  # 136 pairs: more than 512 bytes per item
    assert PostingLists.build(many, (2,) * 17).first_pair is None
    assert PostingLists.build(many[:, :16], (2,) * 16).first_pair is not None


def test_codebooks_beyond_16_bits_are_sorted_like_small_ones():
    codes = np.array([[70_000, 1], [3, 0], [70_000, 0]], dtype=np.int32)
    lists = PostingLists.build(codes, (70_001, 2))
    assert items_of(lists, 70_000) == [0, 2]
    assert lists.item_actions.tolist() == [[70_000, 70_002], [3, 70_001], [70_000, 70_001]]


@pytest.mark.parametrize("field", ["item_actions", "codebook_of", "items", "starts"])
def test_a_copy_on_a_device_is_equal(field):
    lists = PostingLists.build(np.zeros((3, 2), dtype=np.int32), (2, 2))
    moved = lists.to("cpu")
    assert torch.equal(getattr(moved, field), getattr(lists, field))
    assert moved.memory_bytes == lists.memory_bytes
