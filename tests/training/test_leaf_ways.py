"""Ways to leaves: those of a policy over sets are the ways that its own search goes."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.model.config import CodeSetConfig, TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.step import HistoryBatch
from sidestep.training.candidate_tree import CandidateTree
from sidestep.training.leaf_ways import SetWays, TrieWays, chosen_ways, ways_in
from tests.catalog.test_space import TITLES
from tests.model.batches import history_of
from tests.search import test_code_set_choice

SIZES = (3, 3, 2)
IDS = torch.tensor(list(itertools.product(range(3), range(3), range(2))))[::2]
SPACE = SetSpace.of_codes(IDS, SIZES)
HISTORIES = history_of(torch.tensor([[0, 3], [5, 2], [8, 8]]))


def policy(order="confident"):
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
        ways_in(TITLES, policy())
    shape = TransformerConfig(dim=8, num_layers=1, num_heads=2)
    with pytest.raises(ValueError, match="take a network of kind code-sets"):
        ways_in(SPACE, Transformer(shape, IDS, SIZES))


PADDED = HistoryBatch(
    items=torch.tensor([[0, 5, 7], [4, 2, NO_ITEM]]), lengths=torch.tensor([3, 2])
)


def walked(model, items, item, space):
    """The states and the codes on the way to an item, one call of the network at a time."""
    histories = HistoryBatch(items=items[None], lengths=torch.tensor([len(items)]))
    step, context = model.encode(histories, capacity=4)
    state, states, actions = space.root(1), [0], []
    own = space.actions_of(torch.tensor([item]))[0].tolist()
    for depth in range(space.num_steps):
        if bool(space.is_complete(state)):
            states.append(int(state))
            continue
        follows = step.followed(space.legal(state))[0, 0]
        [action] = [code for code in own if follows[code]]
        state = space.child(state, torch.tensor([[action]]))
        states.append(int(state))
        actions.append(action)
        if depth + 1 < space.num_steps:
            one = torch.tensor([[action]])
            step, context = model.extend(
                context, one, torch.full_like(one, depth), one * 0 + depth + 1, is_node=one >= 0
            )
    return states, actions


@torch.no_grad()
@settings(max_examples=10)
@given(
    st.integers(0, 500),
    st.sampled_from(["confident", "informative", "fixed", "random"]),
    st.booleans(),
)
def test_a_way_after_some_past_items_is_the_one_of_a_history_that_ends_there(seed, order, short):
    codes = test_code_set_choice.codes_of(seed)
    model, space = (
        test_code_set_choice.network(codes, order, seed),
        SetSpace.of_codes(codes, test_code_set_choice.SIZES),
    )
    space = space.shortened() if short else space
    after = torch.arange(3).expand(2, -1)
    ways = chosen_ways(model, PADDED, PADDED.items, space, after=after)
    for user, position in (PADDED.items != NO_ITEM).nonzero().tolist():
        item = int(PADDED.items[user, position])
        states, actions = walked(model, PADDED.items[user, :position], item, space)
        assert ways.states[user, position].tolist() == states[1:]
        assert ways.actions[user, position, : len(actions)].tolist() == actions
        assert int(ways.states[user, position, -1]) == int(space.state_of(torch.tensor(item)))


@torch.no_grad()
@pytest.mark.parametrize("order", ["confident", "informative", "fixed", "random"])
def test_a_way_after_the_whole_history_is_the_one_of_a_search(order):
    codes = test_code_set_choice.codes_of(3)
    model, space = (
        test_code_set_choice.network(codes, order),
        SetSpace.of_codes(codes, test_code_set_choice.SIZES),
    )
    found = BeamSearch(num_beams=24).search(model, PADDED, space)
    items = space.items(found.leaves)[..., 0].masked_fill(found.leaves == NO_STATE, NO_ITEM)
    ways = chosen_ways(model, PADDED, items, space.shortened())
    kept = [
        set(row.tolist()) | {int(leaf) for leaf in leaves}
        for row, leaves in zip(found.tree.states, found.leaves, strict=True)
    ]
    for user, column in (items != NO_ITEM).nonzero().tolist():
        assert set(ways.states[user, column].tolist()) <= kept[user]
