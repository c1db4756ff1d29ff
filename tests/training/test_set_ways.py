"""Ways over sets: they follow the codebooks that the network chooses, after every past item."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.step import HistoryBatch
from sidestep.training.set_ways import chosen_ways
from tests.search.test_code_set_choice import SIZES, codes_of, network

HISTORIES = HistoryBatch(
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
    codes = codes_of(seed)
    model, space = network(codes, order, seed), SetSpace.of_codes(codes, SIZES)
    space = space.shortened() if short else space
    after = torch.arange(3).expand(2, -1)
    ways = chosen_ways(model, HISTORIES, HISTORIES.items, space, after=after)
    for user, position in (HISTORIES.items != NO_ITEM).nonzero().tolist():
        item = int(HISTORIES.items[user, position])
        states, actions = walked(model, HISTORIES.items[user, :position], item, space)
        assert ways.states[user, position].tolist() == states
        assert ways.actions[user, position, : len(actions)].tolist() == actions
        assert int(ways.states[user, position, -1]) == int(space.state_of(torch.tensor(item)))


@torch.no_grad()
@pytest.mark.parametrize("order", ["confident", "informative", "fixed", "random"])
def test_a_way_after_the_whole_history_is_the_one_of_a_search(order):
    codes = codes_of(3)
    model, space = network(codes, order), SetSpace.of_codes(codes, SIZES)
    found = BeamSearch(num_beams=24).search(model, HISTORIES, space)
    items = space.items(found.leaves)[..., 0].masked_fill(found.leaves == NO_STATE, NO_ITEM)
    ways = chosen_ways(model, HISTORIES, items, space.shortened())
    kept = [
        set(row.tolist()) | {int(leaf) for leaf in leaves}
        for row, leaves in zip(found.tree.states, found.leaves, strict=True)
    ]
    for user, column in (items != NO_ITEM).nonzero().tolist():
        assert set(ways.states[user, column].tolist()) <= kept[user]
