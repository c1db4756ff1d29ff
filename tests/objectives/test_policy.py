import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.objectives.policy import (
    clipped_terms,
    entropy,
    exact_kl,
    is_clipped,
    k3_kl,
    log_ratios,
    mean_per_group,
)


def test_bounds_take_the_reward_of_a_step_that_went_far_enough():
    """ρ = 1.5 and 0.5 at A = 1 and -1: PPO's four cases, with bounds 0.2 and 0.3."""
    ratios = torch.tensor([1.5, 1.5, 0.5, 0.5])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    terms = clipped_terms(ratios.log(), advantages, clip_low=0.2, clip_high=0.3)
    torch.testing.assert_close(terms, torch.tensor([1.3, -1.5, 0.5, -0.8]))
    clipped = is_clipped(ratios.log(), advantages, clip_low=0.2, clip_high=0.3)
    assert clipped.tolist() == [True, False, False, True]


@given(
    st.floats(-1, 1),
    st.sampled_from([1.0, -1.0]),
    st.sampled_from([None, 0.1, 0.3]),
    st.sampled_from([None, 0.2, 0.5]),
)
def test_it_is_clipped_exactly_where_the_bounds_take_the_gradient(
    log_ratio, advantage, clip_low, clip_high
):
    """Below 1 - clip_low with a negative advantage, above 1 + clip_high with a positive one."""
    clip = {"clip_low": clip_low, "clip_high": clip_high}
    logs = torch.tensor(log_ratio, dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor(advantage, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(clipped_terms(logs, advantages, **clip), logs)
    assert bool(is_clipped(logs, advantages, **clip)) == (float(gradient) == 0)


def test_where_it_is_clipped_nothing_is_learned():
    log_ratio = torch.tensor([0.5, -0.5, 0.1], requires_grad=True)
    clipped_terms(log_ratio, torch.tensor([1.0, -1.0, 1.0])).sum().backward()
    assert log_ratio.grad[:2].eq(0).all()
    torch.testing.assert_close(log_ratio.grad[2].item(), math.exp(0.1), rtol=1e-6, atol=0)


@given(st.integers(0, 10_000), st.sampled_from([None, 0.2]))
def test_on_the_policy_that_made_the_rollouts_it_is_reinforce(seed, clip):
    generator = torch.Generator().manual_seed(seed)
    log_probs = -torch.rand(2, 3, 2, generator=generator)
    log_probs.requires_grad_()
    advantages = torch.randn(2, 3, 2, generator=generator)
    logs = log_ratios(log_probs, log_probs.detach(), "token", log_probs < 1)
    terms = clipped_terms(logs, advantages, clip_low=clip, clip_high=clip)
    (ours,) = torch.autograd.grad(terms.sum(), log_probs)
    (reinforce,) = torch.autograd.grad((advantages * log_probs).sum(), log_probs)
    torch.testing.assert_close(ours, reinforce)


def test_a_sequence_has_one_ratio_the_geometric_mean():
    log_probs = torch.tensor([[[0.3, 0.1]]])
    every = torch.ones(1, 1, 2, dtype=torch.bool)
    logs = log_ratios(log_probs, torch.zeros(1, 1, 2), "sequence", every)
    torch.testing.assert_close(logs, torch.tensor([[[0.2, 0.2]]]))
    # A candidate of two codes, beside others of three.
    short, is_code = torch.tensor([[[0.3, 0.1, 0.0]]]), torch.tensor([[[True, True, False]]])
    logs = log_ratios(short, torch.zeros(1, 1, 3), "sequence", is_code)
    torch.testing.assert_close(logs, torch.full((1, 1, 3), 0.2))


def test_terms_are_means_over_candidates_and_levels_of_what_counts():
    terms = torch.tensor([[[1.0, 2.0], [4.0, torch.nan]], [[8.0, 8.0], [8.0, 8.0]]])
    counts = torch.tensor([[[True, True], [True, False]], [[True, True], [False, False]]])
    is_code = torch.tensor([[True, True], [True, False]])[..., None].expand(2, 2, 2)
    # (1 + 2 + 4) / (2 candidates · 2 levels), (8 + 8) / (1 candidate · 2 levels)
    assert mean_per_group(terms, counts, is_code).tolist() == [1.75, 8.0]
    shorter = is_code & torch.tensor([[[True, True], [True, False]], [[True, True]] * 2])
    assert mean_per_group(terms, counts, shorter).tolist() == pytest.approx([7 / 3, 8.0])


def test_kl_of_a_coin():
    """KL(1/2, 1/2 || 1/4, 3/4) = ln 2 - ln 3 / 2; the illegal third code does not count."""
    ours = torch.tensor([[0.5, 0.5, 0.0]]).log()
    theirs = torch.tensor([[0.25, 0.75, 0.0]]).log()
    torch.testing.assert_close(exact_kl(ours, theirs).item(), math.log(2) - math.log(3) / 2)


def test_what_is_illegal_has_no_gradient_and_an_empty_node_no_kl():
    logits = torch.tensor([[0.3, -0.2, 5.0], [0.0, 0.0, 0.0]], requires_grad=True)
    legal = torch.tensor([[True, True, False], [False, False, False]])
    rows = legal.any(dim=1, keepdim=True)
    logs = logits.masked_fill(~legal, -torch.inf).masked_fill(~rows, 0.0).log_softmax(dim=1)
    logs = logs.masked_fill(~rows, -torch.inf)
    divergence = exact_kl(logs, torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]).log())
    (divergence.sum() + entropy(logs).sum()).backward()
    assert divergence[1] == 0
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 2] == 0
    assert logits.grad[0, 0] != 0


@given(st.integers(0, 10_000))
def test_the_estimator_has_the_mean_of_the_divergence(seed):
    generator = torch.Generator().manual_seed(seed)
    ours = torch.randn(5, generator=generator).log_softmax(dim=0)
    theirs = torch.randn(5, generator=generator).log_softmax(dim=0)
    expected = (ours.exp() * k3_kl(ours, theirs)).sum()
    torch.testing.assert_close(expected, exact_kl(ours, theirs), atol=1e-5, rtol=1e-4)


def test_entropy_of_equals_is_the_log_of_their_number():
    logs = torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0]).log()
    torch.testing.assert_close(entropy(logs).item(), math.log(4))
