from typing import ClassVar

import pytest
import torch
from torch import nn

from sidestep.model.lares import Lares
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops
from tests.model.item_network_contract import ItemNetworkContract


class TestLares(ItemNetworkContract):
    network = Lares
    settings: ClassVar = {"mean_depth": 2}


class TestLinear(ItemNetworkContract):
    network = Lares
    settings: ClassVar = {"mean_depth": 2, "mixing": "linear"}


HISTORIES = history_of(torch.tensor([[4, 7, 2], [1, 5, 3]]))


@torch.no_grad()
def test_a_chain_applies_the_core_again_and_again_to_all_positions():
    model = TestLares().build(depth=3)
    causal = nn.Transformer.generate_square_subsequent_mask(4)
    read = model.pre_block(model.inputs(HISTORIES), mask=causal)
    chains = model.chains(HISTORIES)
    assert chains.shape == (2, 4, 3, 16)
    state = torch.zeros_like(read)
    for step in range(3):
        state = model.core_block(model.mix_norm((state + read) / 2), mask=causal)
        torch.testing.assert_close(chains[:, :, step], state)
    torch.testing.assert_close(model.states(HISTORIES), state)


@torch.no_grad()
def test_training_draws_the_first_states_and_a_recommendation_does_not():
    model = TestLares().build(dropout=0.0)
    inputs = model.inputs(HISTORIES)
    quiet = model.recur(inputs, depth=2)
    torch.testing.assert_close(model.chains(HISTORIES), quiet)
    torch.manual_seed(0)
    model.train()
    model.draw_depth = lambda: 2
    drawn = [model.chains(HISTORIES) for _ in range(2)]
    torch.manual_seed(0)
    first = model.draw_first(inputs)
    torch.testing.assert_close(drawn[0], model.recur(inputs, depth=2, first=first))
    assert not drawn[0].allclose(drawn[1], atol=1e-3)
    assert not drawn[0].allclose(quiet, atol=1e-3)


@torch.no_grad()
def test_first_states_are_noise_that_is_cut_off_and_scaled():
    model = TestLares().build(state_scale=2.0)
    torch.manual_seed(0)
    first = model.draw_first(torch.zeros(500, 4, 16))
    assert 5.5 < first.abs().max() <= 6.0
    torch.testing.assert_close(first.std(), torch.tensor(2.0 * 0.9866), atol=0.02, rtol=0)


def test_depths_are_drawn_around_their_mean_and_bounded():
    model = TestLares().build(mean_depth=4)
    torch.manual_seed(0)
    depths = torch.tensor([model.draw_depth() for _ in range(4000)]).double()
    assert depths.min() == 1
    assert depths.max() == 12
    # One more than a Poisson number whose rate has the mean 4; the bound takes a little.
    torch.testing.assert_close(depths.mean(), torch.tensor(5.0).double(), atol=0.15, rtol=0)
    # The variance is the mean of the rate and the variance of the rate, 4 + 16 (e^(1/4) - 1) = 8.5,
    # less what the bound takes.
    assert 6.5 < depths.var() < 8.5


@pytest.mark.parametrize("shape", [{}, {"mixing": "linear"}, {"depth": 4}])
def test_its_flops_are_those_that_pytorch_counts_but_for_the_masks(shape):
    model = TestLares().build(**shape)
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(model.last_states(histories), histories))
    # The counter counts columns that a mask hides: 4 x 4 instead of 10 in each pass of a layer.
    passes = 1 + model.config.answer_depth
    hidden = passes * 4 * 16 * (4 * 4 - 10)
    assert model.flops(torch.tensor([3])).tolist() == [counted - hidden]
