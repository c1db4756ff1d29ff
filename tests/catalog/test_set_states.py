import torch

from sidestep.catalog.set_states import SetStates
from sidestep.catalog.trie import NO_STATE
from sidestep.padding import NO_ITEM

# Two codebooks of two codes each; a state is 2³² · mask + first item.
STATES = SetStates(item_actions=torch.tensor([[0, 2], [0, 3], [1, 3]], dtype=torch.int16))
FIRST, SECOND, BOTH = 2**32, 2 * 2**32, 3 * 2**32


def test_a_number_tells_codebooks_and_items():
    states = torch.tensor([0, FIRST, SECOND + 1, BOTH + 2, NO_STATE])
    assert STATES.is_decided(states).int().tolist() == [[0, 0], [1, 0], [0, 1], [1, 1], [1, 1]]
    assert STATES.is_complete(states).tolist() == [False, False, False, True, False]
    assert STATES.first_items(states).tolist() == [0, 0, 1, 2, NO_ITEM]
    assert STATES.actions(states).tolist() == [[-1, -1], [0, -1], [-1, 3], [1, 3], [-1, -1]]


def test_a_state_grows_by_a_code_and_by_all_codes():
    states, codebooks = torch.tensor([0, FIRST, FIRST]), torch.tensor([1, 1, 1])
    firsts = torch.tensor([1, 1, NO_ITEM])
    grown = STATES.grown(states, codebooks, firsts)
    assert grown.tolist() == [SECOND + 1, BOTH + 1, NO_STATE]
    assert STATES.complete(firsts).tolist() == [BOTH + 1, BOTH + 1, NO_STATE]
    between = STATES.actions_between(states, grown)
    assert between.tolist() == [3, 3, -1]
    assert STATES.actions_between(grown, states).tolist() == [-1, -1, -1]


def test_the_number_of_states_is_a_bound():
    assert STATES.number == 1 + 3 * 3
