"""Pairs of codes: by hand, their probabilities over a catalog, and the tokens they spare."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.search.beam import BeamSearch
from sidestep.search.code_pairs import CodePairs
from sidestep.search.policy import Scope
from sidestep.step import CodebookChoice, StepOutput

from .fakes import ValueTable, histories_of
from .test_any_space import SpaceTable
from .test_code_set_choice import HISTORIES, SIZES, codes_of, network
from .test_exhaustive import TRIE

PROBS = (0.5, 0.25, 0.25, 0.8, 0.2, 0.6, 0.4)


def paired(codes, *, normaliser="legal", states=None, space=None):
    """The pairs at the root, of codebooks of 3, 2 and 2 codes: the second one is surest."""
    space = SetSpace.of_codes(torch.tensor(codes), (3, 2, 2)) if space is None else space
    states = space.root(1) if states is None else states
    logits = torch.tensor(PROBS).log().expand(1, states.shape[1], 7)
    step = StepOutput(logits=logits, hidden=logits[..., :1], choice=CodebookChoice(sizes=(3, 2, 2)))
    return CodePairs.of(step, states, space.legal(states), space, normaliser)


def told(pairs, column=0):
    """Probability of each pair, and the code that the model is shown."""
    rows = (pairs.first, pairs.second, pairs.shown, pairs.log_probs)
    return {
        (first, second): (math.exp(log_prob), shown)
        for first, second, shown, log_prob in zip(
            *(row[0, column].tolist() for row in rows), strict=True
        )
        if log_prob > -math.inf
    }


ITEMS = [[0, 0, 0], [1, 0, 1], [2, 1, 1], [0, 0, 1]]


def test_a_pair_has_the_product_of_its_codes_among_the_pairs_of_items():
    """Codebook 2 is surest (.8), then codebook 3 (.6): no item has codes 4 and 5 together.

    The products are .8 · .6, .8 · .4 and .2 · .4, in all .88.
    """
    pairs = paired(ITEMS)
    found = told(pairs)
    assert {pair: shown for pair, (_, shown) in found.items()} == {(3, 5): 5, (3, 6): 6, (4, 6): 4}
    products = {(3, 5): 0.48, (3, 6): 0.32, (4, 6): 0.08}
    for pair, product in products.items():
        assert found[pair][0] == pytest.approx(product / 0.88)
    whole = told(paired(ITEMS, normaliser="codebook"))
    assert {pair: prob for pair, (prob, _) in whole.items()} == pytest.approx(products)


def test_only_items_in_scope_make_pairs_and_no_pair_follows_a_complete_state():
    space = SetSpace.of_codes(torch.tensor(ITEMS), (3, 2, 2)).without(torch.tensor([[0, 1]]))
    whole = space.state_of(torch.tensor([[2]]))
    states = torch.cat([space.root(1), whole, torch.tensor([[NO_STATE]])], dim=1)
    pairs = paired(None, space=space, states=states)
    # Both items that are left have code 6, so codebook 3 decides nothing, and codebook 1 is next.
    assert set(told(pairs)) == {(3, 0), (4, 2)}
    assert told(pairs, 1) == told(pairs, 2) == {}


@torch.no_grad()
@settings(max_examples=20)
@given(
    st.integers(0, 500),
    st.sampled_from(["confident", "informative", "fixed", "random"]),
    st.integers(0, 4),
    st.lists(st.integers(0, 11), max_size=6),
)
def test_the_probabilities_of_all_sets_sum_to_one_and_no_set_comes_twice(
    seed, order, single_steps, gone
):
    codes = codes_of(seed)
    is_there = torch.ones(12, dtype=torch.bool)
    is_there[gone] = False
    space = SetSpace.of_codes(codes, SIZES).among(is_there).without(torch.tensor([[0], [1]]))
    search = BeamSearch(num_beams=24, codes_per_step=2, single_steps=single_steps)
    found = search.search(network(codes, order, seed), HISTORIES, space)
    for user in range(2):
        left = {tuple(codes[i].tolist()) for i in range(12) if is_there[i] and i != user}
        leaves = found.leaves[user][found.leaves[user] != NO_STATE]
        assert len(leaves.unique()) == len(leaves) == len(left)
        items = space.items(leaves.expand(2, -1))[user]
        assert {tuple(codes[i].tolist()) for i in items[items >= 0].tolist()} == left
        if left:
            assert float(found.log_probs[user].exp().sum()) == pytest.approx(1, abs=1e-4)


@torch.no_grad()
def test_pairs_spare_tokens_and_late_pairs_change_nothing():
    """All 72 items of codebooks of 3, 4, 3 and 2 codes, which no code decides early.

    One code per step: 1 + 3 · 5 tokens. Pairs: the root and 5 pairs. After one code alone: the
    root, at most 5 codes, and 5 pairs, before the code that is left over.
    """
    codes = torch.tensor(list(itertools.product(*map(range, SIZES))))
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, "fixed")

    def search(**how):
        return BeamSearch(num_beams=5, **how).search(model, HISTORIES, space)

    plain, late = search(), search(codes_per_step=2, single_steps=3)
    assert plain.spent.tokens.tolist() == [1 + 3 + 5 + 5] * 2
    assert late.leaves.equal(plain.leaves)
    assert late.spent.tokens.equal(plain.spent.tokens)
    pairs = search(codes_per_step=2, single_steps=0)
    assert pairs.spent.tokens.tolist() == [1 + 5] * 2
    after_one = search(codes_per_step=2, single_steps=1)
    assert after_one.spent.tokens.tolist() == [1 + 3 + 5] * 2
    assert (after_one.spent.flops < plain.spent.flops).all()
    assert search(codes_per_step=2, single_steps=2).spent.tokens.tolist() == [1 + 3 + 5] * 2
    for found in (pairs, after_one):
        assert (found.leaves != NO_STATE).all()
        scores = found.scores[0].tolist()
        assert scores == sorted(scores, reverse=True)


@torch.no_grad()
def test_the_second_step_reads_the_less_likely_code_of_each_pair():
    """Two steps of pairs by hand: what the model says after the code that it is shown."""
    codes = torch.tensor(list(itertools.product(*map(range, SIZES))))
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, "fixed")
    search = BeamSearch(num_beams=99, codes_per_step=2, single_steps=0)
    found = search.search(model, HISTORIES, space)
    root, context = model.encode(HISTORIES, capacity=2)
    for item in (0, 31, 71):
        own = space.actions_of(torch.tensor([item]))[0].tolist()
        logs = [part.log_softmax(dim=1) for part in root.logits[:, 0].split(SIZES, dim=1)]
        one, other = logs[0][:, codes[item, 0]], logs[1][:, codes[item, 1]]
        shown = torch.where(one <= other, own[0], own[1])[:, None]
        step, _ = model.extend(
            context, shown, shown * 0, shown * 0 + 1, is_node=shown >= 0, depth=1
        )
        later = [part.log_softmax(dim=1) for part in step.logits[:, 0].split(SIZES, dim=1)]
        total = one + other + later[2][:, codes[item, 2]] + later[3][:, codes[item, 3]]
        leaf = space.state_of(torch.tensor(item))
        for user in range(2):
            [column] = (found.leaves[user] == leaf).nonzero()[:, 0].tolist()
            assert float(found.log_probs[user, column]) == pytest.approx(
                float(total[user]), abs=1e-4
            )


def test_pairs_need_sets_and_a_network_over_sets():
    search = BeamSearch(codes_per_step=2)
    with pytest.raises(ValueError, match="codes_per_step 2 needs a catalog of sets"):
        search.search(ValueTable(TRIE.codebook_sizes), histories_of(4), Scope(trie=TRIE))
    space = SetSpace.of_codes(codes_of(1), SIZES)
    with pytest.raises(ValueError, match="codes_per_step 2 needs a catalog of sets"):
        search.search(SpaceTable(space), histories_of(4), space)
    with pytest.raises(ValueError, match="codes_per_step must be 1 or 2, got 3"):
        BeamSearch(codes_per_step=3)
    with pytest.raises(ValueError, match="single_steps must be at least 0"):
        BeamSearch(single_steps=-1)
