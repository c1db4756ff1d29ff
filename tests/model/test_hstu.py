import copy
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch.nn import functional

from sidestep.model.config import GapConfig, HstuConfig
from sidestep.model.hstu import Hstu, HstuLayer, time_bins
from sidestep.step import HistoryBatch
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops
from tests.model.item_network_contract import ItemNetworkContract, states


class TestHstu(ItemNetworkContract):
    network = Hstu
    settings: ClassVar = {"num_layers": 2, "num_heads": 2}


@pytest.mark.parametrize("times", [None, True])
@torch.no_grad()
def test_a_layer_is_the_formula_of_the_paper_in_plain_loops(times):
    torch.manual_seed(0)
    config = HstuConfig(dim=6, num_heads=2, max_items=4, times=times)
    layer = HstuLayer(config).eval()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight)
    x, bins = torch.randn(2, 5, 6), torch.randint(0, 7, (2, 5, 5))
    found = layer(x, bins if times else None)
    normed = functional.layer_norm(x, (6,), eps=1e-6)
    expected = torch.empty_like(x)
    for user in range(2):
        made = functional.silu(normed[user] @ layer.uvqk.weight.T)
        u, v, q, k = made[:, :6], made[:, 6:12], made[:, 12:18], made[:, 18:]
        for i in range(5):
            mixed = torch.zeros(6)
            for head in (slice(0, 3), slice(3, 6)):
                for j in range(i + 1):
                    score = q[i, head] @ k[j, head] + layer.position_bias.weight[i - j, 0]
                    if times:
                        score = score + layer.time_bias.weight[bins[user, i, j], 0]
                    mixed[head] += functional.silu(score) / 5 * v[j, head]
            gated = u[i] * functional.layer_norm(mixed, (6,), eps=1e-6)
            expected[user, i] = x[user, i] + layer.out.weight @ gated + layer.out.bias
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_times_between_positions_are_those_from_an_item_to_the_next_event():
    """Events at 0, 3 and 10, asked at 25; one bin per doubling: 1 + floor(log2(1 + time))."""
    histories = HistoryBatch(
        items=torch.tensor([[4, 5, 6]]),
        lengths=torch.tensor([3]),
        gaps=torch.tensor([[3.0, 7.0, 15.0]]),
    )
    config = GapConfig(bins_per_doubling=1)
    found = time_bins(histories, config, training=False)[0]
    # The query behind item 0 stands at 3, that behind item 1 at 10, that behind item 2 at 25.
    expected = [[0, 0, 0, 0], [0, 3, 0, 0], [0, 4, 4, 0], [0, 5, 5, 5]]
    assert found.tril().tolist() == expected
    unknown = replace(histories, gaps=torch.tensor([[3.0, torch.nan, 15.0]]))
    found = time_bins(unknown, config, training=False)[0]
    assert found.tril().tolist() == [[0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 5]]
    assert not time_bins(history_of(histories.items), config, training=False).any()


def test_training_hides_some_times_and_asking_hides_none():
    gaps = torch.full((400, 3), 60.0)
    items = torch.ones(400, 3, dtype=torch.long)
    histories = HistoryBatch(items=items, lengths=torch.full((400,), 3), gaps=gaps)
    torch.manual_seed(0)
    config = GapConfig(hidden_share=0.3)
    hidden = (time_bins(histories, config, training=True)[:, 1:, 1:] == 0).float().mean(dim=0)
    # A single gap is hidden in .3 of the histories, and with them all in another .3.
    torch.testing.assert_close(hidden[0, 0], torch.tensor(1 - 0.7 * 0.7), atol=0.07, rtol=0)
    torch.testing.assert_close(hidden[2, 0], torch.tensor(1 - 0.7 * 0.7**3), atol=0.07, rtol=0)
    assert (time_bins(histories, config, training=False)[:, 1:, 1:].tril() > 0).float().mean() > 0.6


@torch.no_grad()
def test_a_far_position_is_told_from_a_near_one_by_its_bias_alone():
    network = TestHstu().build()
    network.position_embedding.weight.zero_()
    changed = copy.deepcopy(network)
    changed.layers[0].position_bias.weight[2] += 5.0
    before, after = states(network, [1, 2, 3]), states(changed, [1, 2, 3])
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert not before[:, 2].allclose(after[:, 2], atol=1e-3)


def test_its_flops_are_those_that_pytorch_counts_but_for_masked_columns():
    model = TestHstu().build()
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(states(model, [1, 2, 3])[:, -1], histories))
    # Four positions in two layers of width 16: 6 of 16 columns are later than their query.
    assert model.flops(torch.tensor([3])).tolist() == [counted - 2 * 4 * 16 * 6]
