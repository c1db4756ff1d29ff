"""Codes of a target that a search found, by hand over sets, and as prefixes in a trie."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.evaluation.search_quality import search_quality
from sidestep.evaluation.target_codes import leaf_diversity, reached, recalled
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.policy import Scope
from sidestep.search.proposals import plain_beam
from sidestep.step import HistoryBatch
from tests.evaluation.rows import rows_of
from tests.search.test_code_set_choice import SIZES, codes_of, network

CODES = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1]])
SPACE = SetSpace.of_codes(CODES, (2, 2, 2))


def state(*actions):
    """The set of some codes, which are numbered through all codebooks."""
    found = SPACE.root(1)
    for action in actions:
        found = SPACE.child(found, torch.tensor([[action]]))
    return int(found)


def test_a_state_reaches_the_targets_that_have_all_its_codes():
    targets = torch.tensor([1, 1, 1, 1, 1])
    states = torch.tensor(
        [
            [0, NO_STATE],  # nothing is decided
            [state(3), state(0)],  # one code of item 1 each
            [state(0, 2), state(3)],  # item 1 has not code 2; code 3 it has
            [state(0, 2), NO_STATE],  # one code of two is not enough
            [state(0, 3, 4), NO_STATE],  # item 1 itself
        ]
    )
    assert reached(states, targets, SPACE).tolist() == [
        [False, False, False],
        [True, False, False],
        [True, False, False],
        [False, False, False],
        [True, True, True],
    ]


def test_a_leaf_recalls_the_codes_that_it_shares_and_a_set_is_as_diverse_as_its_codes_differ():
    leaves = SPACE.state_of(torch.tensor([[0, 2], [2, 3], [3, -1]]))
    # Item 0 shares two codes with item 1, item 3 one code, item 2 none.
    assert recalled(leaves, torch.tensor([1, 1, 1]), SPACE).tolist() == [
        [True, True, False],
        [True, False, False],
        [True, False, False],
    ]
    diversity = leaf_diversity(leaves, SPACE).tolist()
    assert diversity[:2] == pytest.approx([2 / 3, 1 / 3])
    assert math.isnan(diversity[2])


def test_in_a_trie_the_first_codes_count():
    scope = Scope(trie=Trie.build(CODES.numpy(), (2, 2, 2)))
    leaves = scope.state_of(torch.tensor([[0, 2]]))
    assert recalled(leaves, torch.tensor([1]), scope).tolist() == [[True, False, False]]
    assert reached(leaves, torch.tensor([0]), scope).tolist() == [[False, False, True]]
    assert leaf_diversity(leaves, scope).tolist() == [1.0]


@torch.no_grad()
@settings(max_examples=10)
@given(st.integers(0, 500), st.sampled_from(["confident", "informative", "fixed"]))
def test_a_search_over_sets_loses_each_target_once_or_returns_it(seed, order):
    codes = codes_of(seed)
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, order, seed)
    rows = rows_of(*((past, target) for past, target in itertools.product(range(2), range(12))))
    policies = [
        plain_beam(num_beams=2, candidates=4),
        plain_beam(num_beams=24, candidates=24, name="wide"),
        ExhaustiveSearch(num_leaves=2),
        ExhaustiveSearch(num_leaves=24),
    ]
    narrow, wide, best, every = search_quality(model, rows, space, policies)
    for found in (narrow, wide, best, every):
        lost = sum(at.dropped.mean + at.unproposed.mean for at in found.depths)
        assert lost + found.depths[-1].kept.mean == pytest.approx(1)
        kept = [at.kept.mean for at in found.depths]
        assert kept == sorted(kept, reverse=True)
        assert all(at.recalled.mean >= found.depths[-1].kept.mean for at in found.depths)
    assert [at.kept.mean for at in wide.depths] == [1] * len(SIZES)
    assert every.candidates.has_target.mean == wide.candidates.has_target.mean == 1
    assert every.candidates.rank.mean == wide.candidates.rank.mean
    number = len({tuple(row) for row in codes.tolist()})
    ranks, begun = zip(*(ranks_of(space, model, past, number=2) for past in range(2)), strict=True)
    assert best.depths[-1].kept.mean == pytest.approx(np.mean(np.array(ranks) <= 2))
    assert every.candidates.rank.mean == pytest.approx(np.mean(ranks))
    assert best.depths[0].kept.mean == pytest.approx(np.mean(begun))
    assert every.candidates.size.mean == number


def ranks_of(space, model, past, number):
    """The place of each target among all items, and whether it begins as one of the first does.

    The widest beam ranks after a history of one item. To begin is to have the first code on the way
    to the target.
    """
    histories = HistoryBatch(items=torch.tensor([[past]]), lengths=torch.tensor([1]))
    step, _ = model.encode(histories, capacity=0)
    first = step.followed(space.legal(space.root(1)))[0, 0]
    found = BeamSearch(num_beams=24).search(model, histories, space).leaves
    begun = space.actions_of(space.items(found[:, :number])[0, :, 0])
    ranks, begins = [], []
    for target in torch.arange(12):
        ranks.append(1 + found[0].tolist().index(int(space.state_of(target))))
        [own] = [action for action in space.actions_of(target[None])[0] if first[action]]
        begins.append(bool((begun == own).any()))
    return ranks, begins
