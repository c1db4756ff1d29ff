import torch
from torch.nn import functional

from sidestep.model.caser import Caser
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops
from tests.model.item_network_contract import ItemNetworkContract, states


class TestCaser(ItemNetworkContract):
    network = Caser


@torch.no_grad()
def test_a_state_is_the_formula_of_the_paper_over_the_last_items():
    """Filter by filter and place by place, over the rows of the window of each position."""
    model = TestCaser().build(num_last=3, num_horizontal=2, num_vertical=2)
    items = [4, 7, 4, 2]
    rows = [model.start] * 3 + [model.item_embedding.weight[item] for item in items]
    expected = []
    for position in range(5):
        window = torch.stack(rows[position : position + 3])  # [L, dim]
        features = []
        for height, filters in enumerate(model.horizontal, start=1):
            for weight, bias in zip(filters.weight, filters.bias, strict=True):
                answers = [
                    torch.relu((window[place : place + height].T * weight).sum() + bias)
                    for place in range(3 - height + 1)
                ]
                features.append(torch.stack(answers).max()[None])
        # All sums of one vertical filter stand behind those of the next channel's.
        sums = torch.stack([weight[0] @ window for weight in model.vertical.weight])
        features.append(sums.T.flatten())
        expected.append(functional.relu(model.out(torch.cat(features))))
    torch.testing.assert_close(states(model, items)[0], torch.stack(expected))


@torch.no_grad()
def test_items_before_the_last_ones_are_not_looked_at():
    model = TestCaser().build(num_last=2)
    first, second = states(model, [1, 2, 3, 4]), states(model, [5, 6, 3, 4])
    torch.testing.assert_close(first[:, 4], second[:, 4])
    assert not first[:, 3].allclose(second[:, 3], atol=1e-3)


def test_its_flops_are_those_that_pytorch_counts():
    model = TestCaser().build(num_last=3, num_horizontal=2, num_vertical=2)
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(states(model, [1, 2, 3])[:, -1], histories))
    assert model.flops(torch.tensor([3])).tolist() == [counted]
