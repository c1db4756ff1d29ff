"""Code sets: legal by definition, one state per set, nothing illegal, and states that last."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.catalog import Catalog
from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.padding import NO_ITEM
from sidestep.search.policy import whole_space
from tests.catalog.space_contract import CodeSpaceContract, items_at

# Items 0 and 4 are the same set. There are lists of pairs, since there are few codes for six items.
CODES = torch.tensor([[0, 1, 0], [0, 2, 1], [1, 1, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1]])
SIZES = (2, 3, 2)

# Many codes for few items: no lists of pairs, so larger sets are intersected.
SPARSE_SIZES = (9, 8, 7)

EXCLUDED = torch.tensor([[0, NO_ITEM, NO_ITEM], [1, 2, 4]])
"""Of two users."""


def test_the_two_catalogs_differ_in_the_lists_that_they_have():
    assert SetSpace.of_codes(CODES, SIZES).lists.first_pair is not None
    assert SetSpace.of_codes(CODES, SPARSE_SIZES).lists.first_pair is None


class TestSets(CodeSpaceContract):
    @staticmethod
    def cases():
        space = SetSpace.of_codes(CODES, SIZES)
        return [(space.without(EXCLUDED), [{1, 2, 3, 4, 5}, {0, 3, 5}])]


class TestSparseSets(CodeSpaceContract):
    @staticmethod
    def cases():
        space = SetSpace.of_codes(CODES[:5], SPARSE_SIZES)
        in_stock = space.among(torch.tensor([True, True, True, False, True]))
        return [(space, [set(range(5))]), (in_stock.without(EXCLUDED[1:]), [{0}])]


def sets_of(codes, sizes):
    """Each item's codes as actions."""
    starts = [0, *itertools.accumulate(sizes)]
    return [
        frozenset(start + code for start, code in zip(starts, row, strict=False)) for row in codes
    ]


@st.composite
def catalogs(draw):
    """Codes of a few items, and the sizes of their codebooks; sometimes with lists of pairs."""
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    row = st.tuples(*[st.integers(0, size - 1) for size in sizes])
    rows = draw(st.lists(row, min_size=1, max_size=12))
    return rows, tuple(size + draw(st.sampled_from([0, 20])) for size in sizes)


def reached(space, ways):
    """The states after some ways of actions, all at once."""
    states = space.root(1).expand(1, len(ways))
    for step in range(max(map(len, ways))):
        actions = torch.tensor([[way[step] if step < len(way) else -1 for way in ways]])
        states = torch.where(actions < 0, states, space.child(states, actions))
    return states[0].tolist()


@given(catalogs(), st.data())
@settings(max_examples=25)
def test_legal_actions_are_those_of_the_items_that_a_user_may_get(catalog, data):
    rows, sizes = catalog
    sets = sets_of(rows, sizes)
    items = st.integers(0, len(rows) - 1)
    in_stock = data.draw(st.sets(items)) | {0}
    excluded = data.draw(st.sets(items))
    space = SetSpace.of_codes(torch.tensor(rows), sizes)
    space = space.among(torch.tensor([item in in_stock for item in range(len(rows))]))
    space = space.without(torch.tensor([[NO_ITEM, *excluded]]))
    # The sets of some codes of some items, in any order; of none at the root.
    ways = [()]
    for _ in range(6):
        own = sorted(sets[data.draw(items)])
        ways.append(data.draw(st.permutations(own))[: data.draw(st.integers(0, len(own)))])
    legal = space.legal(torch.tensor([[NO_STATE, *reached(space, ways)]]))[0]
    assert not legal[0].any()
    for way, follow in zip(ways, legal[1:], strict=True):
        open_sets = [sets[item] for item in in_stock - excluded if sets[item] >= set(way)]
        expected = frozenset().union(*open_sets) - set(way)
        assert set(follow.nonzero()[:, 0].tolist()) == expected


@given(catalogs(), st.data())
@settings(max_examples=25)
def test_codes_in_any_order_lead_to_one_state_and_other_sets_to_others(catalog, data):
    rows, sizes = catalog
    space = SetSpace.of_codes(torch.tensor(rows), sizes)
    own = data.draw(st.sampled_from(sorted(set(sets_of(rows, sizes)), key=sorted)))
    chosen = [
        frozenset(codes)
        for length in range(len(own) + 1)
        for codes in itertools.combinations(sorted(own), length)
    ]
    there = reached(space, [sorted(codes) for codes in chosen])
    back = reached(space, [data.draw(st.permutations(sorted(codes))) for codes in chosen])
    assert there == back
    assert NO_STATE not in there
    assert len(set(there)) == len(chosen) <= space.num_states
    ends = reached(space, [sorted(every) for every in sets_of(rows, sizes)])
    assert space.state_of(torch.arange(len(rows))).tolist() == ends


@given(catalogs(), st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_a_code_that_no_item_has_beside_the_others_leads_nowhere(catalog, random):
    rows, sizes = catalog
    sets = sets_of(rows, sizes)
    space = SetSpace.of_codes(torch.tensor(rows), sizes)
    ways = [
        [random.randrange(space.num_actions) for _ in range(random.randint(1, 4))]
        for _ in range(40)
    ]
    for way, state in zip(ways, reached(space, ways), strict=True):
        is_a_set = len(set(way)) == len(way) and any(own >= set(way) for own in sets)
        assert (state != NO_STATE) == is_a_set


def test_a_search_that_comes_back_to_old_states_gets_the_same_answers():
    """Candidates of the latest states are kept; nothing but speed may depend on that."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 6, (200, 4), generator=generator)
    space = SetSpace.of_codes(codes, (6,) * 4)
    levels = [space.root(1)]
    for _ in range(4):
        levels.append(space.children(levels[-1])[1].flatten(1))
    fresh = SetSpace.of_codes(codes, (6,) * 4)
    for states in reversed(levels):
        assert torch.equal(space.legal(states), fresh.legal(states))
        assert torch.equal(space.children(states)[1], fresh.children(states)[1])
    mixed = torch.cat(levels, dim=1)
    assert torch.equal(space.legal(mixed), torch.cat([fresh.legal(s) for s in levels], dim=1))


def test_the_next_step_finds_the_candidates_of_this_one():
    codes = torch.randint(0, 6, (200, 4), generator=torch.Generator().manual_seed(1))
    space = SetSpace.of_codes(codes, (30,) * 4)
    assert space.lists.first_pair is None
    once = space.children(space.root(1))[1].flatten(1)
    twice = space.children(once)[1].flatten()
    table = space._latest.tables()[0]
    rows = table.positions(twice[twice != NO_STATE])
    assert (rows >= 0).all()
    # The items of a state begin with the one that it is named by.
    assert torch.equal(table.items[table.starts].long(), table.states & (2**32 - 1))


def test_items_of_one_set_stand_by_popularity():
    popularity = np.array([1, 0, 0, 0, 5, 0])
    space = SetSpace.of_codes(CODES, SIZES, popularity=popularity)
    state = int(space.state_of(torch.tensor([4])))
    assert items_at(space, state, 0, 1) == [4, 0]
    assert items_at(space.without(torch.tensor([[4]])), state, 0, 1) == [0]


def test_an_open_codebook_is_one_of_which_there_is_no_code():
    space = SetSpace.of_codes(CODES, SIZES)
    assert space.codebook_of.tolist() == [0, 0, 1, 1, 1, 2, 2]
    states = torch.tensor([[*reached(space, [[], [3], [6, 1]]), NO_STATE]])
    assert space.is_open(states)[0].tolist() == [
        [True, True, True],
        [True, False, True],
        [False, True, False],
        [False, False, False],
    ]


def test_an_append_leaves_every_state_what_it_was():
    new = np.array([[0, 0, 0], [0, 1, 0]], dtype=np.int32)
    old = Catalog.build([f"i{item}" for item in range(6)], CODES.numpy(), SIZES, space="sets")
    grown = old.appended(["x", "y"], new)
    before, after = whole_space(old.spanned), whole_space(grown.spanned)
    assert (grown.space, grown.parent_version) == ("sets", old.version)
    ways = [way for own in sets_of(CODES.tolist(), SIZES) for way in itertools.permutations(own, 2)]
    assert reached(before, ways) == reached(after, ways)
    assert reached(before, [[0, 2]]) == [NO_STATE] != reached(after, [[0, 2]])
    assert items_at(after, int(before.state_of(torch.tensor([0]))), 0, 1) == [0, 4, 7]


def test_a_catalog_of_sets_is_saved_and_told_from_one_of_a_trie(tmp_path):
    made = Catalog.build([f"i{item}" for item in range(6)], CODES.numpy(), SIZES, space="sets")
    made.save(tmp_path / "ids")
    loaded = Catalog.load(tmp_path / "ids", verify=True)
    assert (loaded.space, loaded.version) == ("sets", made.version)
    assert isinstance(whole_space(loaded.spanned), SetSpace)
    ordered = Catalog.build([f"i{item}" for item in range(6)], CODES.numpy(), SIZES)
    assert ordered.version != made.version
    with pytest.raises(ValueError, match=r"needs the trie .* the space sets"):
        _ = made.trie


@pytest.mark.parametrize(
    ("codes", "sizes", "words"),
    [
        (torch.zeros(0, 2, dtype=torch.long), (2, 2), "at least one item"),
        (torch.zeros(1, 2, dtype=torch.long), (2,), "items have 2 codes"),
        (torch.tensor([[0, 2]]), (2, 2), r"item 0 has code 2 of codebook 2, outside 0\.\.1"),
        (torch.zeros(1, 32, dtype=torch.long), (2,) * 32, "at most 31 codebooks, got 32"),
    ],
)
def test_codes_that_are_no_sets_of_the_codebooks_are_refused(codes, sizes, words):
    with pytest.raises(ValueError, match=words):
        SetSpace.of_codes(codes, sizes)


def test_a_stock_of_other_items_is_refused():
    with pytest.raises(ValueError, match="is_available has 5 entries for 6 items"):
        SetSpace.of_codes(CODES, SIZES).among(torch.ones(5, dtype=torch.bool))


def test_a_space_on_another_device_keeps_what_its_users_may_get():
    in_stock = torch.tensor([True, True, False, True, True, True])
    space = SetSpace.of_codes(CODES, SIZES).among(in_stock).without(EXCLUDED).shortened()
    assert space.to("meta").device == torch.device("meta")
    copy = space.to("cpu")
    assert copy.memory_bytes == space.memory_bytes
    for states in (space.root(2), space.children(space.root(2))[1][:, 0]):
        assert torch.equal(copy.legal(states), space.legal(states))
        for of_copy, of_space in zip(copy.children(states), space.children(states), strict=True):
            assert torch.equal(of_copy, of_space)
    assert torch.equal(copy.in_scope(2), space.in_scope(2))
