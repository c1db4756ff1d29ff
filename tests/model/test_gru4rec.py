import pytest
import torch

from sidestep.model.config import Gru4RecConfig
from sidestep.model.gru4rec import Gru4Rec
from tests.model.batches import history_of
from tests.model.item_network_contract import ItemNetworkContract, states


class TestGru4Rec(ItemNetworkContract):
    network = Gru4Rec


@torch.no_grad()
def test_a_state_is_that_of_a_cell_that_reads_one_item_after_the_other():
    model = TestGru4Rec().build(state_dim=5)
    cell = torch.nn.GRUCell(16, 5)
    cell.load_state_dict(
        {name.removesuffix("_l0"): each for name, each in model.gru.state_dict().items()}
    )
    state, expected = torch.zeros(1, 5), []
    for vector in (model.start, *model.item_embedding.weight[[4, 7, 4]]):
        state = cell(vector[None], state)
        expected.append(model.out(state))
    torch.testing.assert_close(states(model, [4, 7, 4])[0], torch.cat(expected))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_its_flops_are_two_per_weight_of_the_gates_at_every_position(num_layers):
    model = Gru4Rec(Gru4RecConfig(dim=4, state_dim=6, num_layers=num_layers), 9)
    # Three gates read the input and the state of a layer; the output has the width of items.
    of_layers = 3 * 6 * (4 + 6) + (num_layers - 1) * 3 * 6 * (6 + 6) + 6 * 4
    assert model.flops(torch.tensor([0, 2])).tolist() == [
        2 * of_layers * positions + 2 * 4 * 9 for positions in (1, 3)
    ]
    assert model.states(history_of(torch.tensor([[1, 2]]))).shape == (1, 3, 4)
