"""The ranking of an item head alone."""

import itertools

import numpy as np
import pytest
import torch

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.padding import NO_ITEM
from sidestep.search.exclusion import Exclusion
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.item_ranking import ItemRanking
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import Scope
from sidestep.search.scorer import Guidance

from .fakes import ItemTable, Ranker, ValueTable, histories_of

IDS = np.array([*itertools.product(range(3), repeat=3), (1, 1, 1), (2, 0, 1)])
TRIE, MODEL, HEAD = Trie.build(IDS, (3, 3, 3)), ValueTable((3, 3, 3)), ItemTable(len(IDS))


def scopes():
    yield Scope(trie=TRIE)
    is_available = torch.arange(len(IDS)) % 3 > 0
    available = TRIE.availability(is_available)
    unwanted = torch.tensor([[1, 4, NO_ITEM], [13, 27, 2]])  # both items of one leaf
    excluded = Exclusion.of(unwanted, TRIE, available)
    yield Scope(trie=TRIE, available=available, excluded=excluded)
    yield Scope(trie=TRIE, below=torch.tensor([0, 2]))


PARTS = {
    "head": {"head": HEAD},
    "both": {"head": HEAD, "ranker": Ranker(len(IDS)), "ranker_weight": 3.0},
    "ranker": {"ranker": Ranker(len(IDS))},
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("scope", [*scopes()], ids=["all", "some", "below"])
def test_it_is_the_exhaustive_search_by_items_without_likelihood(scope, parts):
    ours = ItemRanking(**parts, num_leaves=40).search(MODEL, histories_of(4, 7), scope)
    guidance = Guidance(scorer=ItemSupport(**parts))
    exhaustive = ExhaustiveSearch(num_leaves=40, guidance=guidance)
    theirs = exhaustive.search(MODEL, histories_of(4, 7), scope)
    assert ours.leaves.equal(theirs.leaves)
    torch.testing.assert_close(ours.scores, theirs.scores)
    assert ours.score_kind == theirs.score_kind
    assert (ours.leaves != NO_STATE).any()


def test_it_costs_the_root():
    found = ItemRanking(head=HEAD, num_leaves=5).search(MODEL, histories_of(4), Scope(trie=TRIE))
    assert found.spent.tokens.tolist() == [1]
    assert found.spent.scored.tolist() == [27]
    assert found.leaves.shape == (1, 5)
    assert found.log_probs.exp().sum() < 1


def test_a_list_of_no_length_is_refused():
    with pytest.raises(ValueError, match="num_leaves must be at least 1"):
        ItemRanking(head=HEAD, num_leaves=0)


def test_a_ranking_by_nothing_is_refused():
    with pytest.raises(ValueError, match="give a head, a ranker or both"):
        ItemRanking()
