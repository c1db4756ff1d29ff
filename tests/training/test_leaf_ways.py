"""Ways to leaves: those of a policy over sets are the ways that its own search goes."""

import itertools

import pytest
import torch

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import CodeSetConfig
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.training.candidate_tree import CandidateTree
from sidestep.training.leaf_ways import SetWays, TrieWays, ways_in
from tests.catalog.test_space import TITLES
from tests.model.batches import history_of

SIZES = (3, 3, 2)
IDS = torch.tensor(list(itertools.product(range(3), range(3), range(2))))[::2]
SPACE = SetSpace.of_codes(IDS, SIZES)
HISTORIES = history_of(torch.tensor([[0, 3], [5, 2], [8, 8]]))


def policy(order="confident", space=SPACE):
    torch.manual_seed(3)
    shape = CodeSetConfig(dim=8, num_layers=1, num_heads=2, dropout=0.0, order=order)
    network = CodeSetTransformer(shape, IDS, SIZES).eval()
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.7)
    return network


@pytest.mark.parametrize("order", ["confident", "informative", "fixed", "random"])
def test_a_policy_over_sets_goes_the_way_of_its_search(order):
    network, ways = policy(order), SetWays(space=SPACE)
    found = BeamSearch(num_beams=len(IDS)).search(network, HISTORIES, SPACE)
    assert (found.leaves != NO_STATE).all()
    tree = CandidateTree.along(
        ways(network, HISTORIES, found.leaves), found.leaves, num_found=len(IDS)
    )
    by_slot = tree.node_log_probs(
        tree.read(network, HISTORIES), ways.legal(tree.slot_states, tree.next_codes)
    )
    whole = tree.code_log_probs(by_slot).sum(dim=2)
    torch.testing.assert_close(whole, found.log_probs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whole.exp().sum(dim=1), torch.ones(3), atol=1e-4, rtol=1e-4)


def test_a_way_ends_where_one_item_is_left():
    leaves = SPACE.state_of(torch.arange(len(IDS))).expand(3, -1)
    ways = SetWays(space=SPACE)(policy(), HISTORIES, leaves)
    numbers = ways.is_step.sum(dim=2)
    assert int(numbers.min()) >= 1
    assert int(numbers.min()) < 3  # nine items of three codes: two codes tell some of them
    assert ways.states[..., -1].equal(leaves)
    assert ways.states.shape[2] == 3
    is_codebook = SPACE.codebook_of[ways.actions]
    for user, leaf in itertools.product(range(3), range(len(IDS))):
        own = is_codebook[user, leaf][ways.is_step[user, leaf]].tolist()
        assert len(set(own)) == len(own)
        codes = set(ways.actions[user, leaf][ways.is_step[user, leaf]].tolist())
        assert codes <= set(SPACE.actions_of(torch.tensor([leaf]))[0].tolist())


def test_padding_has_no_way():
    leaves = SPACE.state_of(torch.tensor([[4, 1], [-1, 2], [-1, -1]]))
    network = policy()
    ways = SetWays(space=SPACE)(network, HISTORIES, leaves)
    assert not ways.is_step[leaves == NO_STATE].any()
    alone = SetWays(space=SPACE)(network, HISTORIES.select(torch.tensor([1])), leaves[1:2, 1:])
    assert ways.states[1, 1][ways.is_step[1, 1]].equal(alone.states[0, 0][alone.is_step[0, 0]])


def test_every_policy_goes_the_same_way_in_a_trie():
    trie = Trie.build(IDS, SIZES)
    leaves = trie.leaf_of(torch.tensor([[2, 7], [0, -1], [1, 1]]))
    ways = TrieWays(space=Scope(trie=trie))(policy(), HISTORIES, leaves)
    assert ways.states.equal(trie.prefixes(leaves))
    assert ways.actions[0, 1].equal(IDS[7])
    assert ways.is_step.sum(dim=2).tolist() == [[3, 3], [3, 0], [3, 3]]


def test_a_space_of_other_states_is_refused():
    assert isinstance(TITLES, CodeSpace)
    with pytest.raises(TypeError, match="needs the trie of semantic IDs or sets of codes"):
        ways_in(TITLES)
