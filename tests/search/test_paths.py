import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.paths import is_first_on_paths, paths_to, score_paths
from sidestep.search.policy import Scope
from sidestep.search.value_beam import ValueBeamSearch

from .fakes import PrefixTable, ValueTable, catalogs, found, histories_of, prefix_log_probs

USERS = 2


def drawn_prefixes(data, trie):
    """Some prefixes of each user, of any depth, repeated or not, with padding anywhere."""
    state = st.integers(NO_STATE, trie.num_nodes() - 1).filter(lambda state: state != 0)
    width = data.draw(st.integers(1, 12))
    row = st.lists(state, min_size=width, max_size=width)
    return torch.tensor(data.draw(st.lists(row, min_size=USERS, max_size=USERS)))


def scored(model, prefixes, trie, chunk_size=256, scope=None):
    paths = paths_to(prefixes, trie)
    root, context = model.encode(histories_of(4, 7), capacity=chunk_size * trie.num_levels)
    scope = scope or Scope(trie=trie)
    return paths, score_paths(model, root, context, paths, scope, chunk_size=chunk_size)


@given(catalogs(), st.data())
def test_paths_hold_every_prefix_once_as_first_and_all_that_is_above_it(catalog, data):
    ids, sizes = catalog
    trie = Trie.build(ids, sizes)
    prefixes = drawn_prefixes(data, trie)
    paths = paths_to(prefixes, trie)
    is_first = is_first_on_paths(paths)
    for user in range(USERS):
        above = {
            int(trie.ancestor(torch.tensor(state), depth))
            for state in prefixes[user].tolist()
            for depth in range(1, trie.num_levels + 1)
        } - {NO_STATE}
        assert sorted(paths[user][is_first[user]].tolist()) == sorted(above)
        ends = paths[user].amax(dim=1).tolist()  # deeper states are larger
        asked = set(prefixes[user].tolist()) - {NO_STATE}
        assert [end for end in ends if end != NO_STATE] == sorted(
            asked, key=lambda state: trie.path(torch.tensor(state)).tolist()
        )


@settings(max_examples=20)
@given(catalogs(), st.data(), st.integers(1, 5))
def test_log_probs_of_prefixes_are_sums_over_what_is_below(catalog, data, chunk_size):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    prefixes = drawn_prefixes(data, trie)
    paths, scores = scored(model, prefixes, trie, chunk_size)
    assert scores.values is None
    codes = trie.path(paths)  # of each state
    for level in range(trie.num_levels):
        expected = prefix_log_probs(model, histories_of(4), ids, level + 1)
        for path in range(paths.shape[1]):
            if paths[0, path, level] != NO_STATE:
                prefix = tuple(codes[0, path, level, : level + 1].tolist())
                assert scores.log_probs[0, path, level] == pytest.approx(expected[prefix], abs=1e-4)


@settings(max_examples=20)
@given(catalogs(), st.data(), st.integers(1, 5))
def test_chunks_and_other_users_change_nothing(catalog, data, chunk_size):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), ValueTable(sizes)
    prefixes = drawn_prefixes(data, trie)
    paths, whole = scored(model, prefixes, trie)
    _, parts = scored(model, prefixes, trie, chunk_size)
    is_prefix = paths != NO_STATE
    assert whole.log_probs[is_prefix].equal(parts.log_probs[is_prefix])
    assert whole.values[is_prefix].equal(parts.values[is_prefix])
    root, context = model.encode(histories_of(7), capacity=99)
    alone = score_paths(model, root, context, paths[1:], Scope(trie=trie))
    assert alone.values[is_prefix[1:]].equal(whole.values[1:][is_prefix[1:]])


def test_values_are_those_that_a_search_reads():
    ids = np.array(list(itertools.product(range(3), repeat=3)))
    trie, model = Trie.build(ids, (3, 3, 3)), ValueTable((3, 3, 3))
    scope, histories = Scope(trie=trie), histories_of(4, 7)
    tree = ValueBeamSearch(num_beams=9, candidates=27).search(model, histories, scope).tree
    paths, scores = scored(model, tree.states[:, 1:], trie)
    for user in range(USERS):
        read = dict(
            zip(paths[user].flatten().tolist(), scores.values[user].flatten().tolist(), strict=True)
        )
        for state, value in zip(tree.states[user, 1:], tree.scores[user, 1:], strict=True):
            assert read[int(state)] == pytest.approx(float(value))


def test_what_is_out_of_stock_has_no_probability_and_leaves_its_own_to_the_rest():
    ids = np.array(list(itertools.product(range(2), repeat=2)))
    trie, model = Trie.build(ids, (2, 2)), PrefixTable((2, 2))
    available = trie.availability(torch.tensor([True, True, False, True]))
    scope = Scope(trie=trie, available=available)
    leaves = torch.arange(trie.first_leaf, trie.num_nodes()).expand(USERS, -1)
    _, scores = scored(model, leaves, trie, scope=scope)
    ranked = ExhaustiveSearch().search(model, histories_of(4, 7), scope)
    expected = found(ranked, trie, 0)
    ours = scores.log_probs[0, :, -1].tolist()
    assert ours[2] == -torch.inf
    for path, own in zip(itertools.product(range(2), repeat=2), ours, strict=True):
        assert own == pytest.approx(expected.get(path, -torch.inf))
