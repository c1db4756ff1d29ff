"""The trie against brute force over the items, for arbitrary small catalogs."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidestep.catalog import dense_rows
from sidestep.catalog.flat import build_flat
from sidestep.catalog.trie import NO_CODE, NO_STATE, Trie
from sidestep.padding import NO_ITEM


@st.composite
def catalogs(draw):
    """Semantic IDs with collisions, their codebook sizes, and a popularity."""
    sizes = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    rows = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    ids = np.array(draw(st.lists(rows, min_size=1, max_size=30)), dtype=np.int32)
    popularity = np.array(
        draw(st.lists(st.integers(0, 3), min_size=len(ids), max_size=len(ids))), dtype=np.int64
    )
    return ids, sizes, popularity


@pytest.fixture(params=[2**26, 40, 0], ids=["dense rows", "a dense root", "no dense rows"])
def rows(request, monkeypatch):
    """Small catalogs have dense rows everywhere; less memory for these tests other rows too."""
    monkeypatch.setattr(dense_rows, "_MAX_BYTES", request.param)
    return request.param


def every_state(trie):
    return torch.arange(NO_STATE, trie.num_nodes())[None, :]  # [1, states]


def prefix(trie, state):
    return tuple(code for code in trie.path(torch.tensor([state]))[0].tolist() if code != NO_CODE)


def legal_by_brute_force(ids, prefix):
    return {int(row[len(prefix)]) for row in ids if tuple(row[: len(prefix)]) == prefix}


# The fixture only sets a constant, so that sharing it between examples is safe.
laws = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@laws
@given(catalogs())
def test_legal_codes_are_those_of_some_item_with_the_prefix(rows, catalog):
    ids, sizes, _ = catalog
    trie = Trie.build(ids, sizes)
    legal = trie.legal(every_state(trie))[0]
    assert not legal[0].any()  # NO_STATE
    for state in range(trie.num_nodes()):
        path = prefix(trie, state)
        expected = set() if len(path) == len(sizes) else legal_by_brute_force(ids, path)
        assert set(legal[state + 1].nonzero()[:, 0].tolist()) == expected


@laws
@given(catalogs())
def test_a_child_exists_where_the_code_is_legal_and_appends_it_to_the_path(rows, catalog):
    ids, sizes, _ = catalog
    trie = Trie.build(ids, sizes)
    states = every_state(trie).T.expand(-1, max(sizes) + 2)
    codes = torch.arange(-1, max(sizes) + 1).expand_as(states)
    children = trie.child(states, codes)
    legal = trie.legal(states[:, :1])[:, 0]
    assert torch.equal(children[:, 1:-1] != NO_STATE, legal)
    assert (children[:, [0, -1]] == NO_STATE).all()  # no such codes
    is_child = children != NO_STATE
    assert torch.equal(trie.parent(children)[is_child], states[is_child])
    assert torch.equal(trie.codes_of(children)[is_child], codes[is_child])
    assert torch.equal(trie.depth(children)[is_child], trie.depth(states)[is_child] + 1)


@laws
@given(catalogs())
def test_walking_an_items_semantic_id_ends_at_its_leaf_which_holds_the_item(rows, catalog):
    ids, sizes, _ = catalog
    trie = Trie.build(ids, sizes)
    states = torch.zeros((1, len(ids)), dtype=torch.long)
    for level in range(len(sizes)):
        states = trie.child(states, torch.from_numpy(ids[None, :, level]))
    items = torch.arange(len(ids))
    assert torch.equal(states[0], trie.leaf_of(items))
    assert torch.equal(trie.path(states)[0], torch.from_numpy(ids).long())
    assert (trie.items(states)[0] == items[:, None]).sum(dim=1).eq(1).all()


@given(catalogs())
@settings(max_examples=25)
def test_buckets_hold_every_item_once_by_popularity_and_then_by_index(catalog):
    ids, sizes, popularity = catalog
    trie = Trie.build(ids, sizes, popularity=popularity)
    leaves = trie.nodes_at(len(sizes))
    buckets = trie.items(torch.arange(leaves.start, leaves.stop)[None, :])[0].tolist()
    counts = trie.bucket_sizes(every_state(trie))[0]
    assert counts[: leaves.start + 1].eq(0).all()  # NO_STATE and the inner nodes
    groups = [[item for item in bucket if item != NO_ITEM] for bucket in buckets]
    assert [len(group) for group in groups] == counts[leaves.start + 1 :].tolist()
    assert sorted(item for group in groups for item in group) == list(range(len(ids)))
    for group in groups:
        assert len({tuple(ids[item]) for item in group}) == 1
        assert group == sorted(group, key=lambda item: (-popularity[item], item))


@given(catalogs())
@settings(max_examples=15)
def test_nodes_are_numbered_breadth_first_and_lexicographically(catalog):
    ids, sizes, _ = catalog
    trie = Trie.build(ids, sizes)
    for depth in range(len(sizes) + 1):
        paths = sorted({tuple(row[:depth].tolist()) for row in ids})
        assert [prefix(trie, state) for state in trie.nodes_at(depth)] == paths
        assert trie.num_nodes(depth) == len(paths)
    assert trie.depth(torch.tensor([NO_STATE, 0])).tolist() == [-1, 0]
    assert trie.parent(torch.tensor([NO_STATE, 0])).tolist() == [NO_STATE, NO_STATE]
    assert trie.leaf_of(torch.tensor([NO_ITEM])).tolist() == [NO_STATE]


@laws
@given(catalogs(), st.data())
def test_availability_equals_the_trie_of_the_available_items(rows, catalog, data):
    ids, sizes, popularity = catalog
    mask = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    is_available = np.array(mask)
    trie = Trie.build(ids, sizes, popularity=popularity)
    available = trie.availability(torch.from_numpy(is_available))
    assert available.num_items == is_available.sum()
    states = every_state(trie)
    legal = trie.legal(states, available)[0]
    buckets = trie.items(states, available)[0]
    assert torch.equal((buckets != NO_ITEM).sum(dim=1), trie.bucket_sizes(states, available)[0])
    if not is_available.any():
        assert not legal.any()
        assert (buckets == NO_ITEM).all()
        return
    kept = np.flatnonzero(is_available)
    alone = Trie.build(ids[kept], sizes, popularity=popularity[kept])
    for state in range(trie.num_nodes()):
        path = prefix(trie, state)
        same = torch.tensor([[0]])
        for code in path:
            same = alone.child(same, torch.tensor([[code]]))
        assert torch.equal(legal[state + 1], alone.legal(same)[0, 0])
        mine = [item for item in buckets[state + 1].tolist() if item != NO_ITEM]
        theirs = [item for item in alone.items(same)[0, 0].tolist() if item != NO_ITEM]
        assert mine == kept[theirs].tolist()
        below = {tuple(row) for row in ids[kept].tolist() if tuple(row[: len(path)]) == path}
        assert available.live_leaves[state] == len(below)


@given(catalogs())
@settings(max_examples=10)
def test_the_ancestor_at_a_depth_is_the_prefix_of_the_path(catalog):
    ids, sizes, _ = catalog
    trie = Trie.build(ids, sizes)
    states = every_state(trie)[0]
    for depth in range(len(sizes) + 1):
        ancestors = trie.ancestor(states, depth)
        is_deep = trie.depth(states) >= depth
        assert (ancestors[~is_deep] == NO_STATE).all()
        paths = trie.path(states)[is_deep]
        paths[:, depth:] = NO_CODE
        assert torch.equal(trie.path(ancestors[is_deep]), paths)


@given(catalogs())
@settings(max_examples=10)
def test_the_prefixes_of_a_state_are_its_ancestors_from_one_code_on(catalog):
    ids, sizes, _ = catalog
    trie = Trie.build(ids, sizes)
    states = every_state(trie)
    by_depth = [trie.ancestor(states, depth) for depth in range(1, len(sizes) + 1)]
    prefixes = trie.prefixes(states)
    assert prefixes.equal(torch.stack(by_depth, dim=-1))
    assert prefixes[:, :2].eq(NO_STATE).all()  # of `NO_STATE` and of the root


@given(catalogs(), st.integers(2**20, 2**40))
@settings(max_examples=10)
def test_semantic_ids_too_wide_for_one_integer_give_the_same_trie(catalog, size):
    ids, sizes, popularity = catalog
    narrow = Trie.build(ids, sizes, popularity=popularity)
    # The size of a codebook decides how it is sorted; the codes in use decide the nodes.
    flat = build_flat(ids, (size,) * len(sizes), popularity)
    assert flat.codes.tolist() == narrow.codes.tolist()
    assert flat.child_start.tolist() == narrow.child_start.tolist()
    assert flat.bucket_items.tolist() == narrow.bucket_items.tolist()


def test_worked_example():
    #        root 0
    #       /      \
    #    1 (0)    2 (2)
    #     |       /   \
    #   3 (1)  4 (0)  5 (1)        items: 3: {2}, 4: {1}, 5: {0, 3}
    ids = np.array([[2, 1], [2, 0], [0, 1], [2, 1]], dtype=np.int32)
    trie = Trie.build(ids, (3, 2))
    assert trie.depth_starts == (0, 1, 3, 6)
    assert trie.child_start.tolist() == [1, 3, 4, 6]
    assert trie.leaf_of(torch.arange(4)).tolist() == [5, 4, 3, 5]
    assert trie.legal(torch.tensor([[0, 2]])).tolist() == [
        [[True, False, True], [True, True, False]]
    ]
    assert trie.items(torch.tensor([[5, 4, NO_STATE]])).tolist() == [
        [[0, 3], [1, NO_ITEM], [NO_ITEM, NO_ITEM]]
    ]
    without = trie.availability(torch.tensor([True, False, False, True]))
    assert without.live_leaves.tolist() == [1, 0, 1, 0, 0, 1]
    assert trie.legal(torch.tensor([[0, 2]]), without).tolist() == [
        [[False, False, True], [False, True, False]]
    ]


def test_states_of_any_integer_type_and_empty_widths_are_answered():
    trie = Trie.build(np.array([[0, 1], [1, 0]], dtype=np.int64), (2, 2))
    states = torch.tensor([[0, 1]], dtype=torch.int32)
    assert trie.legal(states).shape == (1, 2, 2)
    assert trie.child(states, states).tolist() == [[1, 3]]
    nothing = torch.empty((3, 0), dtype=torch.long)
    assert trie.legal(nothing).shape == (3, 0, 2)
    assert trie.child(nothing, nothing).shape == (3, 0)
    assert trie.items(nothing).shape == (3, 0, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_trie_answers_alike_on_a_gpu(rows):
    ids = np.random.default_rng(0).integers(0, 8, (200, 4), dtype=np.int32)
    trie = Trie.build(ids, (8,) * 4)
    moved = trie.to("cuda")
    states = every_state(trie)
    available = trie.availability(torch.arange(200) % 3 > 0)
    there = moved.availability(torch.arange(200) % 3 > 0)
    for view, other in ((None, None), (available, there), (available, available.to("cuda"))):
        assert torch.equal(moved.legal(states.cuda(), other).cpu(), trie.legal(states, view))
        assert torch.equal(moved.items(states.cuda(), other).cpu(), trie.items(states, view))
    codes = states.remainder(8)
    assert torch.equal(moved.child(states.cuda(), codes.cuda()).cpu(), trie.child(states, codes))
    assert torch.equal(moved.path(states.cuda()).cpu(), trie.path(states))


@pytest.mark.parametrize(
    ("ids", "sizes", "words"),
    [
        (np.zeros((0, 2), dtype=np.int32), (4, 4), "at least one item"),
        (np.zeros((3, 2), dtype=np.int32), (4, 4, 4), "2 levels"),
        (np.array([[0, 0], [0, 4]], dtype=np.int32), (4, 4), "item 1 has code 4 at level 2"),
        (np.array([[-1, 0], [0, 3]], dtype=np.int32), (4, 4), "item 0 has code -1 at level 1"),
    ],
)
def test_semantic_ids_that_make_no_trie_are_refused(ids, sizes, words):
    with pytest.raises(ValueError, match=words):
        Trie.build(ids, sizes)


def test_an_availability_that_is_asked_for_again_is_not_counted_again(monkeypatch):
    counted, count = [], Trie._counted
    monkeypatch.setattr(Trie, "_counted", lambda *of: counted.append(of) or count(*of))
    trie = Trie.build(np.array([[0, 1], [0, 0], [1, 1]], dtype=np.int32), (2, 2))
    mask = torch.tensor([True, False, True])
    first = trie.availability(mask)
    assert trie.availability(mask.clone()) is first
    assert len(counted) == 1
    mask[1] = True  # a later change of the caller's mask changes no answer
    assert trie.availability(mask).num_items == 3
    assert first.num_items == 2
    assert len(counted) == 2
    other = Trie.build(np.array([[1, 1], [0, 0], [0, 1]], dtype=np.int32), (2, 2))
    assert first.bucket_items.tolist() == [0, 2]
    assert other.availability(torch.tensor([True, False, True])).bucket_items.tolist() == [2, 0]
    assert trie.to("cpu").availability(mask) is not trie.availability(mask)  # one per device


@settings(max_examples=50)
@given(catalogs(), st.data())
def test_a_kept_availability_is_the_counted_one(catalog, data):
    ids, sizes, popularity = catalog
    trie = Trie.build(ids, sizes, popularity=popularity)
    mask = st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))
    masks = [torch.tensor(some) for some in data.draw(st.lists(mask, min_size=1, max_size=3))]
    for index in data.draw(st.lists(st.integers(0, len(masks) - 1), min_size=2, max_size=8)):
        kept, counted = trie.availability(masks[index]), trie._counted(masks[index])
        for name in ("live_leaves", "bucket_start", "bucket_items", "dense_legal"):
            assert torch.equal(getattr(kept, name), getattr(counted, name)), name


def test_an_availability_of_the_wrong_length_is_refused():
    trie = Trie.build(np.array([[0], [1]], dtype=np.int32), (2,))
    with pytest.raises(ValueError, match="3 entries for 2 items"):
        trie.availability(torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("size", "dtype"), [(256, np.uint8), (257, np.int16), (2**15, np.int16), (2**15 + 1, np.int32)]
)
def test_codes_take_no_more_memory_than_their_codebook_needs(size, dtype):
    flat = build_flat(np.array([[0], [size - 1]], dtype=np.int32), (size,), None)
    assert flat.codes.dtype == dtype
    assert flat.codes.tolist()[-1] == size - 1


@given(catalogs())
def test_the_leaves_below_a_state_are_a_range(drawn):
    ids, sizes, popularity = drawn
    trie = Trie.build(ids, sizes, popularity=popularity)
    first, stop = trie.leaf_range(every_state(trie))
    leaves = range(trie.first_leaf, trie.num_nodes())
    for state, start, end in zip(
        every_state(trie)[0].tolist(), first[0].tolist(), stop[0].tolist(), strict=True
    ):
        begins = () if state == NO_STATE else prefix(trie, state)
        below = [leaf for leaf in leaves if prefix(trie, leaf)[: len(begins)] == begins]
        assert list(range(start, end)) == ([] if state == NO_STATE else below)


def test_ranks_of_a_large_codebook_do_not_overflow():
    codes = torch.tensor([0, 0, 2**15])  # the root and its two children
    made = dense_rows.DenseRows.build(
        codes, torch.tensor([1, 3]), depth_starts=(0, 1, 3), max_codes=2**15 + 1
    )
    assert made.ranks.dtype == torch.int32
