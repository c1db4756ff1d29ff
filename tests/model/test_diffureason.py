import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sidestep.model.config import DiffuReasonConfig, ReaRecConfig
from sidestep.model.diffureason import Denoiser, DiffuReason, signal_shares
from sidestep.model.rearec import ReaRec
from tests.model.batches import history_of
from tests.model.counted_flops import counted_flops
from tests.model.item_network_contract import ItemNetworkContract


class TestDiffuReason(ItemNetworkContract):
    network = DiffuReason
    settings: ClassVar = {"num_noise_levels": 8}


HISTORIES = history_of(torch.tensor([[4, 7, 2], [1, 5, 3]]))


@given(st.integers(1, 200))
def test_the_share_of_the_signal_falls_from_all_to_nothing(num_levels):
    shares = signal_shares(num_levels)
    assert shares.shape == (num_levels + 1,)
    assert shares[0] == 1
    assert shares[-1] == 0
    assert (shares.diff() < 0).all()


def test_the_share_of_the_signal_is_the_cosine_of_the_paper():
    # Half way: cos²(π/2 · .508 / 1.008) / cos²(π/2 · .008 / 1.008).
    middle = math.cos(math.pi / 2 * 0.508 / 1.008) ** 2
    whole = math.cos(math.pi / 2 * 0.008 / 1.008) ** 2
    torch.testing.assert_close(signal_shares(2)[1], torch.tensor(middle / whole))


@torch.no_grad()
def test_the_denoiser_adds_a_change_to_the_thought_and_norms_the_sum():
    torch.manual_seed(0)
    denoiser = Denoiser(3, 5, 4)
    noisy, thoughts, levels = torch.randn(2, 3), torch.randn(2, 3), torch.tensor([1, 4])
    found = denoiser(noisy, levels, thoughts)
    for row, level in enumerate([0, 3]):
        hidden = denoiser.hidden.weight @ torch.cat([noisy[row], thoughts[row]])
        hidden = hidden + denoiser.hidden.bias + denoiser.level_embedding.weight[level]
        change = denoiser.output.weight @ (hidden * hidden.sigmoid()) + denoiser.output.bias
        total = thoughts[row] + change
        centred = total - total.mean()
        scaled = centred / (centred.square().mean() + 1e-5).sqrt()
        torch.testing.assert_close(found[row], scaled)


@torch.no_grad()
def test_thoughts_are_the_last_states_of_rearec():
    model = TestDiffuReason().build(num_steps=3)
    other = ReaRec(ReaRecConfig(dim=16, max_items=6, num_steps=3), 9).eval()
    weights = model.state_dict()
    other.load_state_dict({name: weights[name] for name in other.state_dict()})
    thoughts = model.think(model.inputs(HISTORIES))
    torch.testing.assert_close(thoughts, other.chains(HISTORIES)[:, :, -1])


@torch.no_grad()
def test_refinements_go_down_from_noise_alone_to_no_noise():
    """One step by hand for each of the levels 8, 5, 2 and 0: the noise that is left is kept."""
    model = TestDiffuReason().build(num_refinements=3)
    thoughts, noisy = torch.randn(2, 1, 16), torch.randn(2, 1, 16)
    chain = model.refine(thoughts, noisy)
    assert chain.shape == (2, 1, 3, 16)
    for step, (level, lower) in enumerate([(8, 5), (5, 2), (2, 0)]):
        clean = model.denoiser(noisy, torch.tensor(level), thoughts)
        torch.testing.assert_close(chain[:, :, step], clean)
        share, left = signal_shares(8)[[level, lower]].double()
        noise = (noisy - share.sqrt() * clean) / (1 - share).sqrt()
        noisy = (left.sqrt() * clean + (1 - left).sqrt() * noise).float()
    torch.testing.assert_close(noisy, chain[:, :, 2])  # at level 0 only the vector is left


@torch.no_grad()
def test_a_denoiser_that_knows_the_answer_ends_at_it_whatever_the_noise():
    model = TestDiffuReason().build(num_refinements=4)
    answer = model.clean_vectors(torch.tensor([3, 8]))[:, None]
    model.denoiser.forward = lambda noisy, levels, thoughts: answer
    for _ in range(3):
        torch.testing.assert_close(model.refine(torch.randn(2, 1, 16))[:, :, -1], answer)


@torch.no_grad()
def test_noise_is_added_by_its_level():
    model = TestDiffuReason().build()
    clean = model.clean_vectors(torch.tensor([3, 3, 8]))
    torch.testing.assert_close(clean.square().mean(dim=1), torch.ones(3))
    noise = torch.randn_like(clean)
    noisy = model.noised(clean, torch.tensor([0, 8, 4]), noise)
    torch.testing.assert_close(noisy[0], clean[0])
    torch.testing.assert_close(noisy[1], noise[1])
    share = signal_shares(8)[4]
    torch.testing.assert_close(noisy[2], share.sqrt() * clean[2] + (1 - share).sqrt() * noise[2])


@torch.no_grad()
def test_training_draws_noise_and_a_recommendation_begins_at_its_mean():
    model = TestDiffuReason().build(dropout=0.0)
    thoughts = model.think(model.inputs(HISTORIES))
    quiet = model.refine(thoughts, torch.zeros_like(thoughts))
    torch.testing.assert_close(model.chains(HISTORIES), quiet)
    model.train()
    torch.manual_seed(0)
    drawn = [model.chains(HISTORIES) for _ in range(2)]
    torch.manual_seed(0)
    first = torch.randn_like(thoughts)
    torch.testing.assert_close(drawn[0], model.refine(thoughts, first))
    assert not drawn[0].allclose(drawn[1], atol=1e-3)
    assert not drawn[0].allclose(quiet, atol=1e-3)


@settings(max_examples=10)
@given(
    st.lists(st.lists(st.integers(0, 8), max_size=6), min_size=1, max_size=5),
    st.integers(0, 1000),
)
@torch.no_grad()
def test_a_user_has_the_same_scores_alone_and_in_any_batch(rows, seed):
    torch.manual_seed(0)
    model = DiffuReason(DiffuReasonConfig(dim=16, max_items=6), 9).eval()
    width = max(map(len, rows))
    items = torch.tensor([row + [-1] * (width - len(row)) for row in rows], dtype=torch.long)
    batch = history_of(items.reshape(len(rows), width))
    torch.manual_seed(seed)
    together = model.scores(model.last_states(batch), batch)
    for row, scores in zip(rows, together, strict=True):
        alone = history_of(torch.tensor([row], dtype=torch.long).reshape(1, len(row)))
        torch.testing.assert_close(model.scores(model.last_states(alone), alone)[0], scores)


def test_more_refinements_than_levels_are_refused():
    with pytest.raises(ValidationError, match="num_refinements 6 must be at most num_noise_levels"):
        DiffuReasonConfig(num_refinements=6, num_noise_levels=5)


@pytest.mark.parametrize("num_refinements", [1, 4])
def test_its_flops_are_those_that_pytorch_counts_but_for_the_masks(num_refinements):
    model = TestDiffuReason().build(num_refinements=num_refinements)
    histories = history_of(torch.tensor([[1, 2, 3]]))
    counted, _ = counted_flops(lambda: model.scores(model.last_states(histories), histories))
    # The counter counts columns that a mask hides: 4 x 4 instead of 10 of the prompt.
    hidden = 4 * (2 * 16) * (4 * 4 - 10)
    assert model.flops(torch.tensor([3])).tolist() == [counted - hidden]
