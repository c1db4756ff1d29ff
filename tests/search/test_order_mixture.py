"""The mixture over orders: means by hand, one order is a beam, and many orders share a prompt."""

import math

import pytest
import torch

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.search.beam import BeamSearch
from sidestep.search.order_mixture import OrderMixture, mean_over_searches
from sidestep.search.policy import Scope

from .fakes import ValueTable, histories_of
from .test_code_set_choice import HISTORIES, SIZES, codes_of, network
from .test_exhaustive import TRIE


def test_a_leaf_of_two_searches_has_the_mean_and_a_leaf_of_one_search_half():
    leaves = torch.tensor([[7, 4, 4, 9, NO_STATE]])
    probs = torch.tensor([[0.5, 0.2, 0.4, 0.1, 0.0]])
    found, log_probs = mean_over_searches(leaves, probs.log(), num_searches=2, number=4)
    assert found.tolist() == [[4, 7, 9, NO_STATE]]
    assert log_probs[0, :3].exp().tolist() == pytest.approx([0.3, 0.25, 0.05])
    assert float(log_probs[0, 3]) == -math.inf
    narrow, _ = mean_over_searches(leaves, probs.log(), num_searches=2, number=1)
    assert narrow.tolist() == [[4]]


def test_one_order_is_a_plain_beam():
    codes = codes_of(1)
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, "confident")
    beam = BeamSearch(num_beams=4).search(model, HISTORIES, space)
    mixture = OrderMixture(num_beams=4, num_orders=1).search(model, HISTORIES, space)
    assert mixture.leaves.equal(beam.leaves)
    torch.testing.assert_close(mixture.log_probs, beam.log_probs)
    assert mixture.spent.tokens.equal(beam.spent.tokens)


def test_wide_beams_give_the_exact_mean_over_the_orders_that_the_seed_draws():
    codes = codes_of(2)
    space, model = SetSpace.of_codes(codes, SIZES), network(codes, "confident")
    search = OrderMixture(num_beams=24, num_orders=3, seed=5)
    found = search.search(model, HISTORIES, space)
    each = [BeamSearch(num_beams=24).search(model, HISTORIES, space)]
    for ranks in search._orders(len(SIZES), torch.device("cpu"))[1:]:
        other = network(codes, "fixed")
        other.order = ranks
        each.append(BeamSearch(num_beams=24).search(other, HISTORIES, space))
    for user in range(2):
        by_leaf = [
            dict(zip(one.leaves[user].tolist(), one.log_probs[user].exp().tolist(), strict=True))
            for one in each
        ]
        for leaf, log_prob in zip(found.leaves[user].tolist(), found.log_probs[user], strict=True):
            if leaf != NO_STATE:
                mean = sum(one[leaf] for one in by_leaf) / 3
                assert float(log_prob.exp()) == pytest.approx(mean, rel=1e-3)
    tokens = torch.stack([one.spent.tokens for one in each]).sum(dim=0) - 2
    assert found.spent.tokens.equal(tokens)  # the prompt is read once


def test_codes_in_an_order_have_no_mixture():
    with pytest.raises(ValueError, match="needs a network over sets of codes"):
        OrderMixture().search(ValueTable(TRIE.codebook_sizes), histories_of(4), Scope(trie=TRIE))
