import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.exclusion import Exclusion
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.policy import Scope
from sidestep.search.tree import evaluated_prefixes

from .fakes import PrefixTable, brute_force, catalogs, found, histories_of


@settings(max_examples=25)
@given(catalogs(), st.sampled_from(["legal", "codebook"]))
def test_a_beam_as_wide_as_the_catalog_equals_exhaustive_ranking_and_brute_force(
    catalog, normaliser
):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    histories = histories_of(3, 8)
    beam = BeamSearch(num_beams=len(ids), normaliser=normaliser)
    exhaustive = ExhaustiveSearch(num_leaves=len(ids), normaliser=normaliser, chunk_size=3)
    by_beam = beam.search(model, histories, Scope(trie=trie))
    by_all = exhaustive.search(model, histories, Scope(trie=trie))
    for user, expected in enumerate(brute_force(model, histories, ids, normaliser)):
        assert found(by_beam, trie, user) == pytest.approx(expected, abs=1e-4)
        assert found(by_all, trie, user) == pytest.approx(expected, abs=1e-4)
        assert by_all.log_probs[user].tolist() == sorted(by_all.log_probs[user], reverse=True)


@settings(max_examples=25)
@given(catalogs(), st.integers(1, 6))
def test_a_beam_returns_distinct_legal_leaves_and_counts_its_tokens(catalog, num_beams):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    candidates = BeamSearch(num_beams=num_beams).search(model, histories_of(1), Scope(trie=trie))
    leaves = candidates.leaves[0][candidates.leaves[0] != NO_STATE].tolist()
    assert len(leaves) == len(set(leaves)) == min(num_beams, trie.num_leaves)
    assert all(leaf >= trie.first_leaf for leaf in leaves)
    most = 1 + sum(min(num_beams, trie.num_nodes(depth)) for depth in range(1, len(sizes)))
    # A level may hold fewer than both: the beams above it may have few children.
    assert int(candidates.spent.tokens[0]) <= most
    assert int(candidates.spent.tokens[0]) == int(candidates.tree.is_node.sum())


def test_a_beam_costs_one_token_and_its_width_per_inner_level():
    ids = np.array(list(itertools.product(range(4), repeat=3)))
    trie = Trie.build(ids, (4, 4, 4))
    candidates = BeamSearch(num_beams=3).search(
        PrefixTable((4, 4, 4)), histories_of(1, 2), Scope(trie=trie)
    )
    assert candidates.spent.tokens.tolist() == [7, 7]  # 1 + (3 - 1) · 3


def test_a_narrow_beam_can_miss_what_the_exhaustive_scorer_finds():
    ids = np.array(list(itertools.product(range(5), repeat=3)))
    trie, model = Trie.build(ids, (5, 5, 5)), PrefixTable((5, 5, 5))
    histories = histories_of(*range(20))
    greedy = BeamSearch(num_beams=1).search(model, histories, Scope(trie=trie))
    best = ExhaustiveSearch(num_leaves=1).search(model, histories, Scope(trie=trie))
    assert (best.log_probs >= greedy.log_probs - 1e-5).all()
    assert (best.leaves != greedy.leaves).any()


@settings(max_examples=25)
@given(catalogs(), st.data())
def test_excluded_and_unavailable_items_are_left_out_as_if_they_did_not_exist(catalog, data):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    everything = range(len(ids))
    gone = data.draw(st.lists(st.sampled_from(everything), max_size=len(ids)))
    missing = data.draw(st.lists(st.sampled_from(everything), max_size=len(ids)))
    is_available = torch.ones(len(ids), dtype=torch.bool)
    is_available[missing] = False
    available = trie.availability(is_available)
    items = torch.tensor([[*gone, NO_ITEM]])
    scope = Scope(trie=trie, available=available, excluded=Exclusion.of(items, trie, available))
    left = sorted(set(everything) - set(gone) - set(missing))
    rest = ids[left]
    expected = {} if not left else brute_force(model, histories_of(4), rest)[0]
    for policy in (BeamSearch(num_beams=len(ids)), ExhaustiveSearch(num_leaves=len(ids))):
        candidates = policy.search(model, histories_of(4), scope)
        assert found(candidates, trie, 0) == pytest.approx(expected, abs=1e-4)


@settings(max_examples=25)
@given(catalogs(), st.data())
def test_each_user_is_closed_their_own_codes_however_often_a_state_is_asked_for(catalog, data):
    ids, sizes = catalog
    trie = Trie.build(ids, sizes)
    items = st.lists(st.sampled_from([NO_ITEM, *range(len(ids))]), min_size=6, max_size=6)
    gone = [data.draw(items), data.draw(items)]
    excluded = Exclusion.of(torch.tensor(gone), trie)
    for depth in range(len(sizes)):
        nodes = list(trie.nodes_at(depth))
        states = torch.tensor([[*nodes, NO_STATE, nodes[0]], [nodes[-1], *nodes, nodes[-1]]])
        left = Scope(trie=trie, excluded=excluded).legal(states, depth)
        for user, out in enumerate(gone):
            kept = {tuple(ids[item]) for item in range(len(ids)) if item not in out}
            for column, state in enumerate(states[user].tolist()):
                prefix = tuple(trie.path(torch.tensor(state))[:depth].tolist())
                below = {path[depth] for path in kept if path[:depth] == prefix}
                expected = set() if state == NO_STATE else below
                assert set(left[user, column].nonzero().flatten().tolist()) == expected
    assert torch.equal(
        excluded.is_excluded(torch.tensor([[NO_ITEM, *range(len(ids))]] * 2)),
        torch.tensor([[False, *(item in out for item in range(len(ids)))] for out in gone]),
    )


def test_evaluated_prefixes_are_the_codes_of_every_node_and_of_every_leaf_returned():
    ids = np.array([[0, 0, 0], [0, 1, 1], [1, 1, 0]])
    trie, model = Trie.build(ids, (2, 2, 2)), PrefixTable((2, 2, 2))
    found = BeamSearch(num_beams=4).search(model, histories_of(1), Scope(trie=trie))
    prefixes = evaluated_prefixes(found.tree, found.leaves, trie)[0].tolist()
    none = [-1, -1, -1]  # two beams of two codes each, of which one leads nowhere
    of_one, of_two = [[0, -1, -1], [1, -1, -1]], [[0, 0, -1], [0, 1, -1], [1, 1, -1]]
    assert sorted(prefixes[:6]) == sorted([none, *of_one, *of_two])
    assert sorted(prefixes[6:]) == sorted([none, *ids.tolist()])


@pytest.mark.parametrize(
    ("policy", "width"),
    [
        (BeamSearch, "num_beams"),
        (ExhaustiveSearch, "num_leaves"),
        (ExhaustiveSearch, "chunk_size"),
    ],
)
def test_a_width_below_one_is_refused(policy, width):
    with pytest.raises(ValueError, match=f"{width}.* must be at least 1"):
        policy(**{width: 0})
