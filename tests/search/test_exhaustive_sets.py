"""The exhaustive search over sets of codes: all of the probability, and what no beam exceeds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.scorer import Guidance
from sidestep.step import HistoryBatch

from .fakes import ItemTable, histories_of
from .test_any_space import SpaceTable
from .test_code_set_choice import HISTORIES, SIZES, codes_of, network

ORDERS = ["confident", "informative", "fixed", "random"]


def by_leaf(found, user):
    """The log-probability of each leaf of a user, in the order of the answer."""
    is_leaf = found.leaves[user] != NO_STATE
    return dict(
        zip(
            found.leaves[user][is_leaf].tolist(),
            found.log_probs[user][is_leaf].tolist(),
            strict=True,
        )
    )


@torch.no_grad()
@settings(max_examples=25)
@given(st.integers(0, 500), st.sampled_from(ORDERS), st.integers(1, 20), st.integers(1, 7))
def test_the_probabilities_of_the_whole_catalog_sum_to_one(seed, order, num_items, chunk_size):
    codes = codes_of(seed, num_items)
    space = SetSpace.of_codes(codes, SIZES)
    search = ExhaustiveSearch(num_leaves=num_items, chunk_size=chunk_size)
    found = search.search(network(codes, order, seed), histories_within(num_items), space)
    number = len({tuple(row) for row in codes.tolist()})
    for user in range(2):
        own = by_leaf(found, user)
        assert len(own) == number
        assert sum(map(math.exp, own.values())) == pytest.approx(1, abs=1e-4)
        assert found.scores[user].tolist() == sorted(found.scores[user].tolist(), reverse=True)


def histories_within(num_items):
    """Histories of two users of a catalog of so many items."""
    return HistoryBatch(items=HISTORIES.items % num_items, lengths=HISTORIES.lengths)


@torch.no_grad()
@settings(max_examples=25)
@given(
    st.integers(0, 500),
    st.sampled_from(ORDERS),
    st.sampled_from(["legal", "codebook"]),
    st.lists(st.integers(0, 11), max_size=8),
    st.integers(1, 7),
)
def test_a_beam_that_keeps_everything_gives_the_same_list(
    seed, order, normaliser, gone, chunk_size
):
    codes = codes_of(seed)
    is_there = torch.ones(12, dtype=torch.bool)
    is_there[gone] = False
    space = SetSpace.of_codes(codes, SIZES).among(is_there).without(torch.tensor([[0], [1]]))
    model = network(codes, order, seed)
    wide = BeamSearch(num_beams=24, normaliser=normaliser).search(model, HISTORIES, space)
    search = ExhaustiveSearch(num_leaves=24, normaliser=normaliser, chunk_size=chunk_size)
    every = search.search(model, HISTORIES, space)
    for user in range(2):
        expected, own = by_leaf(wide, user), by_leaf(every, user)
        assert own == pytest.approx(expected, abs=1e-4)
        padding = every.leaves[user] == NO_STATE
        assert (every.log_probs[user][padding] == -math.inf).all()
        assert (every.scores[user][padding] == -math.inf).all()


@torch.no_grad()
def test_a_state_costs_one_token_per_chunk_and_the_ends_of_ways_none():
    """Worked by hand: the fixed order, and codes that tell the items apart after two or three.

    The states of one code are 0 and 1, since 2 belongs to one item alone. Of two codes, 0 1 has two
    items. With two sets per chunk, the chunks are 0 0 and 0 1 0, then 0 1 1 and 1 0, then 1 1 and
    2: the states 0, 0 1 and 1 are shown twice.
    """
    codes = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    codes = torch.cat([codes, torch.tensor([[2, 0, 0, 0]])])
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, "fixed")
    tokens = {
        size: ExhaustiveSearch(chunk_size=size).search(model, HISTORIES, space).spent.tokens
        for size in (1, 2, 6)
    }
    assert tokens[6].tolist() == [1 + 2 + 1] * 2
    assert tokens[2].tolist() == [1 + (1 + 1) + (2 + 1) + 1] * 2
    assert tokens[1].tolist() == [1 + 1 + 2 + 2 + 1 + 1] * 2


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_ceiling_of_a_guided_beam_ranks_by_the_same_score(weight):
    codes = codes_of(4)
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, "confident")
    guidance = Guidance(scorer=ItemSupport(head=ItemTable(12)), likelihood_weight=weight)
    wide = GuidedBeamSearch(guidance=guidance, num_beams=24, candidates=24)
    found = wide.search(model, HISTORIES, space)
    every = ExhaustiveSearch(num_leaves=24, guidance=guidance).search(model, HISTORIES, space)
    number = int((every.leaves[0] != NO_STATE).sum())
    assert every.leaves[:, :number].equal(found.leaves[:, :number])
    torch.testing.assert_close(every.scores[:, :number], found.scores[:, :number])
    assert every.score_kind == found.score_kind
    assert (every.spent.scored == number).all()


@torch.no_grad()
def test_a_user_gets_the_same_list_alone_and_in_a_batch():
    codes = codes_of(6)
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, "informative")
    search = ExhaustiveSearch(num_leaves=5, chunk_size=4)
    both = search.search(model, HISTORIES, space)
    alone = search.search(model, HISTORIES.select(torch.tensor([1])), space)
    assert both.leaves[1].equal(alone.leaves[0])
    assert both.spent.tokens[1] == alone.spent.tokens[0]


def test_a_model_with_many_ways_to_a_set_is_refused():
    space = SetSpace.of_codes(codes_of(1), SIZES)
    with pytest.raises(ValueError, match="needs a network that chooses the next codebook"):
        ExhaustiveSearch().search(SpaceTable(space), histories_of(4), space)
