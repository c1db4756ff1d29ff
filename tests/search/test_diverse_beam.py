import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import Trie
from sidestep.search.beam import BeamSearch
from sidestep.search.diverse_beam import DiverseBeamSearch, ranks_within
from sidestep.search.policy import Scope

from .fakes import PrefixTable, catalogs, found, histories_of, leaf_paths


def greedily(log_probs, penalty, shared_codes):
    """The leaves in the order of a greedy choice, in plain Python."""
    left, listed = dict(log_probs), []
    while left:
        numbers = {
            path: sum(path[:shared_codes] == other[:shared_codes] for other in listed)
            for path in left
        }
        best = max(left, key=lambda path: left[path] - penalty * numbers[path])
        listed.append(best)
        del left[best]
    return listed


@settings(max_examples=25)
@given(catalogs(), st.integers(1, 4))
def test_without_a_penalty_it_is_a_plain_beam(catalog, num_beams):
    ids, sizes = catalog
    scope, model = Scope(trie=Trie.build(ids, sizes)), PrefixTable(sizes)
    plain = BeamSearch(num_beams=num_beams).search(model, histories_of(3, 8), scope)
    spread = DiverseBeamSearch(num_beams=num_beams, penalty=0.0).search(
        model, histories_of(3, 8), scope
    )
    assert spread.leaves.equal(plain.leaves)
    assert spread.log_probs.equal(plain.log_probs)
    assert spread.spent.tokens.equal(plain.spent.tokens)


@settings(max_examples=25)
@given(catalogs(), st.floats(0.1, 3.0), st.integers(1, 2))
def test_a_wide_one_lists_every_leaf_in_the_order_of_a_greedy_choice(
    catalog, penalty, shared_codes
):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    answer = DiverseBeamSearch(num_beams=64, penalty=penalty, shared_codes=shared_codes).search(
        model, histories_of(5), Scope(trie=trie)
    )
    if shared_codes < len(sizes):
        expected = greedily(found(answer, trie, 0), penalty, shared_codes)
        assert leaf_paths(answer, trie, 0) == expected
    assert len(found(answer, trie, 0)) == trie.num_leaves


def test_the_beams_are_spread_on_the_way_and_not_only_in_the_list():
    """With a large penalty, each first code keeps one of the three beams of every level."""
    ids = np.array(list(itertools.product(range(3), repeat=3)))
    trie, model = Trie.build(ids, (3, 3, 3)), PrefixTable((3, 3, 3))
    for past in range(8):
        spread = DiverseBeamSearch(num_beams=3, penalty=50.0).search(
            model, histories_of(past), Scope(trie=trie)
        )
        assert sorted(path[0] for path in leaf_paths(spread, trie, 0)) == [0, 1, 2]
        plain = BeamSearch(num_beams=3).search(model, histories_of(past), Scope(trie=trie))
        assert int(spread.spent.tokens[0]) == int(plain.spent.tokens[0])


def test_what_is_not_among_the_candidates_is_not_kept():
    ids = np.array(list(itertools.product(range(4), repeat=2)))
    trie, model = Trie.build(ids, (4, 4)), PrefixTable((4, 4))
    likely = BeamSearch(num_beams=5).search(model, histories_of(1), Scope(trie=trie))
    spread = DiverseBeamSearch(num_beams=4, candidates=5, penalty=9.0).search(
        model, histories_of(1), Scope(trie=trie)
    )
    # A beam of 4 first codes keeps them all, so the five likeliest leaves are the candidates.
    assert set(leaf_paths(spread, trie, 0)) <= set(leaf_paths(likely, trie, 0))


def test_ranks_count_the_entries_before_of_the_same_group():
    groups = torch.tensor([[2, 0, 2, 2, 0], [1, 1, 1, 1, 1]])
    assert ranks_within(groups).tolist() == [[0, 0, 1, 2, 1], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1"),
        ({"candidates": 49}, "candidates must be at least num_beams, got 49 for 50"),
        ({"penalty": -0.1}, "penalty must be 0 or more"),
        ({"penalty": float("nan")}, "penalty must be 0 or more"),
        ({"shared_codes": 0}, "shared_codes must be at least 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DiverseBeamSearch(**wrong)
