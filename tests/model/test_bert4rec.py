import torch

from sidestep.model.bert4rec import Bert4Rec
from sidestep.padding import NO_ITEM
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops
from tests.model.item_network_contract import ItemNetworkContract


class TestBert4Rec(ItemNetworkContract):
    network = Bert4Rec


@torch.no_grad()
def test_a_masked_item_is_read_from_both_sides_and_not_from_itself():
    model = TestBert4Rec().build()
    is_masked = torch.tensor([[False, True, False]])
    states = [
        model.masked_states(history_of(torch.tensor([items])), is_masked)[0, 1]
        for items in ([4, 7, 2], [4, 8, 2], [5, 7, 2], [4, 7, 3])
    ]
    torch.testing.assert_close(states[0], states[1])
    assert not states[0].allclose(states[2], atol=1e-3)
    assert not states[0].allclose(states[3], atol=1e-3)


@torch.no_grad()
def test_the_state_after_a_history_is_that_of_a_masked_item_behind_it():
    model = TestBert4Rec().build()
    vectors = torch.stack([model.start, *model.item_embedding.weight[[4, 7]], model.mask])
    placed = vectors + model.position_embedding.weight[:4]
    expected = model.layers(placed[None])[:, 3]
    padded = history_of(torch.tensor([[4, 7, NO_ITEM, NO_ITEM]]))
    torch.testing.assert_close(model.last_states(padded), expected)


def test_its_flops_are_those_that_pytorch_counts():
    model = TestBert4Rec().build()
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(model.last_states(histories), histories))
    assert model.flops(torch.tensor([3])).tolist() == [counted]
