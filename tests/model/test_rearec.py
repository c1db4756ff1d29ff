from typing import ClassVar

import pytest
import torch

from sidestep.model.config import SasRecConfig
from sidestep.model.rearec import ReaRec
from sidestep.model.sasrec import SasRec
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops
from tests.model.item_network_contract import ItemNetworkContract


class TestEnsemble(ItemNetworkContract):
    network = ReaRec
    settings: ClassVar = {"reasoning": "ensemble"}


class TestProgressive(ItemNetworkContract):
    network = ReaRec


HISTORIES = history_of(torch.tensor([[4, 7, 2], [1, 5, 3]]))


@torch.no_grad()
def test_a_chain_is_sasrec_on_the_history_and_what_was_fed_back():
    """Without a cache: the whole prompt is read anew for every step of one position."""
    model = TestProgressive().build(num_steps=3)
    chains = model.chains(HISTORIES)
    assert chains.shape == (2, 4, 4, 16)
    inputs = model.inputs(HISTORIES)
    for place in range(4):
        prompt = inputs[:, : place + 1]
        for step in range(4):
            causal = torch.nn.Transformer.generate_square_subsequent_mask(prompt.shape[1])
            state = model.layers(prompt, mask=causal)[:, -1]
            torch.testing.assert_close(chains[:, place, step], state)
            if step < 3:
                token = state + model.step_embedding.weight[step]
                prompt = torch.cat([prompt, token[:, None]], dim=1)


@torch.no_grad()
def test_a_chain_begins_at_the_states_of_sasrec():
    model = TestProgressive().build()
    plain = SasRec(SasRecConfig(dim=16, max_items=6), 9).eval()
    weights = model.state_dict()
    del weights["step_embedding.weight"]
    plain.load_state_dict(weights)
    torch.testing.assert_close(model.chains(HISTORIES)[:, :, 0], plain.states(HISTORIES))


@torch.no_grad()
def test_the_last_state_scores_or_the_mean_of_all():
    chains = TestProgressive().build().chains(HISTORIES)
    progressive, ensemble = TestProgressive().build(), TestEnsemble().build()
    torch.testing.assert_close(progressive.states(HISTORIES), chains[:, :, 2])
    torch.testing.assert_close(ensemble.states(HISTORIES), chains.mean(dim=2))


@torch.no_grad()
def test_noise_changes_every_step_but_the_first():
    model = TestProgressive().build()
    prompt = model.read_prompt(model.inputs(HISTORIES))
    plain, noisy = model.reason_from(prompt), model.reason_from(prompt, noise=0.5)
    torch.testing.assert_close(noisy[:, :, 0], plain[:, :, 0])
    is_moved = (noisy - plain).abs().amax(dim=-1) > 1e-3
    assert is_moved[:, :, 1:].all()


@pytest.mark.parametrize("num_steps", [1, 3])
def test_its_flops_are_those_that_pytorch_counts_but_for_the_masks(num_steps):
    model = TestProgressive().build(num_steps=num_steps)
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(model.last_states(histories), histories))
    # The counter counts columns that a mask hides: 4 x 4 instead of 10 of the prompt.
    hidden = 4 * (2 * 16) * (4 * 4 - 10)
    assert model.flops(torch.tensor([3])).tolist() == [counted - hidden]
