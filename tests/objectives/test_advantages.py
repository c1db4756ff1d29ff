import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.objectives.advantages import (
    group_advantages,
    is_informative,
    optimum_advantages,
    sibling_advantages,
)
from sidestep.objectives.value import is_first_of_prefix, mean_below, shared_prefixes

ALL = torch.ones(1, 4, dtype=torch.bool)


def siblings(rewards, prefixes, is_candidate=None, **options):
    """Advantages of candidates, which are given by their prefixes: [candidates][levels]."""
    numbers = torch.tensor([prefixes])
    if is_candidate is None:
        is_candidate = torch.ones(numbers.shape[:2], dtype=torch.bool)
    shared = shared_prefixes(numbers, is_candidate)
    scores = mean_below(torch.tensor([rewards]), shared)
    return sibling_advantages(scores, shared, is_first_of_prefix(shared), **options)[0]


@given(st.floats(-100, 100, width=32), st.integers(2, 64), st.sampled_from(["std", "mean-only"]))
def test_equal_rewards_give_no_advantage(reward, size, scaling):
    advantages = group_advantages(
        torch.full((1, size), reward), torch.ones(1, size, dtype=torch.bool), scaling=scaling
    )
    torch.testing.assert_close(advantages, torch.zeros(1, size), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("std", [3 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5]),  # variance 3/16
        ("mean-only", [3 / 4, -1 / 4, -1 / 4, -1 / 4]),
        ("leave-one-out", [1.0, -1 / 3, -1 / 3, -1 / 3]),
    ],
)
def test_one_right_candidate_of_four(scaling, expected):
    advantages = group_advantages(torch.tensor([[1.0, 0, 0, 0]]), ALL, scaling=scaling)
    torch.testing.assert_close(advantages, torch.tensor([expected]), atol=1e-5, rtol=0)


def test_padding_counts_for_nothing_and_gets_nothing():
    rewards = torch.tensor([[1.0, 0.0, torch.nan, 7.0]])
    is_candidate = torch.tensor([[True, True, False, False]])
    advantages = group_advantages(rewards, is_candidate)
    torch.testing.assert_close(advantages, torch.tensor([[1.0, -1.0, 0.0, 0.0]]), atol=1e-5, rtol=0)


def test_what_is_missing_to_the_best_policy_of_the_group():
    """Two equal shares, R = τ ln 3 and 0: π* is 3/4 and 1/4; padding has no share."""
    logs = torch.tensor([[-5.0, -5.0, torch.nan]])
    rewards = torch.tensor([[0.2 * math.log(3), 0.0, torch.inf]])
    there = torch.tensor([[True, True, False]])
    missing = optimum_advantages(rewards, logs, logs, there, temperature=0.2)
    torch.testing.assert_close(missing, torch.tensor([[0.5, -0.5, 0.0]]), atol=1e-6, rtol=0)


def test_nothing_is_missing_where_the_policy_has_arrived():
    reference = torch.randn(3, 4)
    rewards = torch.rand(3, 4)
    arrived = reference + rewards / 0.3 + torch.randn(3, 1)  # a group's total may be anything
    there = torch.ones(3, 4, dtype=torch.bool)
    missing = optimum_advantages(rewards, arrived, reference, there, temperature=0.3)
    torch.testing.assert_close(missing, torch.zeros(3, 4), atol=1e-5, rtol=0)


def test_what_is_missing_is_the_gradient_of_the_cross_entropy_from_the_best_policy():
    logs = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    reference, rewards = (torch.randn(2, 4, dtype=torch.float64) for _ in range(2))
    best = (reference + rewards / 0.7).softmax(dim=1)
    (best * logs.log_softmax(dim=1)).sum().backward()
    there = torch.ones(2, 4, dtype=torch.bool)
    missing = optimum_advantages(rewards, logs, reference, there, temperature=0.7)
    torch.testing.assert_close(missing / 4, logs.grad)


def test_weights_say_how_much_each_counts():
    """Rewards 1 and 0 at weights 3 : 1: mean 3/4, deviation √3/4; leave-one-out gives 1 and -1."""
    rewards, both = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool)
    weights = torch.tensor([[6.0, 2.0]])
    expected = {
        "mean-only": [1 / 4, -3 / 4],
        "std": [1 / 3**0.5, -(3**0.5)],
        "leave-one-out": [1.0, -1.0],
    }
    for scaling, wanted in expected.items():
        advantages = group_advantages(rewards, both, weights=weights, scaling=scaling)
        torch.testing.assert_close(advantages, torch.tensor([wanted]), atol=1e-5, rtol=0)


def test_a_group_of_one_tells_nothing():
    one = torch.tensor([[True, False, False, False]])
    for scaling in ("std", "mean-only", "leave-one-out"):
        assert group_advantages(torch.tensor([[5.0, 0, 0, 0]]), one, scaling=scaling).eq(0).all()


def test_siblings_by_hand():
    """Two first codes, 10 and 20; below 10 the items 100 and 101, below 20 the item 200.

    Level 1: R̄(10) = (1 + 0) / 2, R̄(20) = 0: mean 1/4, deviation 1/4, advantages 1 and -1. Level 2:
    below 10 rewards 1 and 0, so 1 and -1; below 20 one child, so 0.
    """
    advantages = siblings([1.0, 0.0, 0.0], [[10, 100], [10, 101], [20, 200]])
    expected = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 0.0]])
    torch.testing.assert_close(advantages, expected, atol=1e-4, rtol=0)


def test_a_node_counts_once_however_many_candidates_pass_through_it():
    """Three candidates of reward 1 are below 10, one of 0 below 20: 1 and -1, not 1/√3 and -√3."""
    advantages = siblings([1.0, 1.0, 1.0, 0.0], [[10, 1], [10, 2], [10, 3], [20, 4]])
    expected = torch.tensor([1.0, 1.0, 1.0, -1.0])
    torch.testing.assert_close(advantages[:, 0], expected, atol=1e-4, rtol=0)


def test_padding_is_nobodys_sibling():
    is_candidate = torch.tensor([[True, True, False]])
    advantages = siblings(
        [1.0, 0.0, torch.nan], [[10, 100], [20, 200], [30, 300]], is_candidate, scaling="mean-only"
    )
    torch.testing.assert_close(advantages[:, 0], torch.tensor([0.5, -0.5, 0.0]))
    assert advantages[:, 1].eq(0).all()


@given(st.integers(0, 10_000), st.sampled_from(["std", "mean-only", "leave-one-out"]))
def test_with_one_level_siblings_are_the_group(seed, scaling):
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 4, (1, 6), generator=generator).float()
    of_siblings = siblings(rewards[0].tolist(), [[code] for code in range(6)], scaling=scaling)
    of_group = group_advantages(rewards, torch.ones(1, 6, dtype=torch.bool), scaling=scaling)
    torch.testing.assert_close(of_siblings[:, 0], of_group[0])


@given(st.integers(0, 10_000))
def test_users_do_not_mix(seed):
    """Two users with the same prefixes get the same advantages as alone: groups are per user."""
    generator = torch.Generator().manual_seed(seed)
    prefixes = torch.tensor([[[1, 10], [1, 11], [2, 20], [2, 21]]]).expand(2, -1, -1)
    rewards = torch.rand(2, 4, generator=generator)
    is_candidate = torch.ones(2, 4, dtype=torch.bool)

    def advantages(rows):
        shared = shared_prefixes(prefixes[rows], is_candidate[rows])
        scores = mean_below(rewards[rows], shared)
        return sibling_advantages(scores, shared, is_first_of_prefix(shared))

    both = advantages(slice(0, 2))
    alone = torch.cat([advantages(slice(0, 1)), advantages(slice(1, 2))])
    torch.testing.assert_close(both, alone)


def test_a_group_is_informative_where_rewards_differ():
    rewards = torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.5, 0.0], [3.0, 3.0, 3.0]])
    is_candidate = torch.tensor([[True, True, False], [True, True, True], [True, True, True]])
    assert is_informative(rewards, is_candidate).tolist() == [False, True, False]


@pytest.mark.parametrize("scaling", ["std", "mean-only", "leave-one-out"])
def test_every_user_is_held_against_its_own_group_alone(scaling):
    rewards = torch.tensor([[1.0, 0.0, 5.0], [7.0, 9.0, 2.0], [-3.0, -3.0, 4.0]])
    everyone = torch.ones(3, 3, dtype=torch.bool)
    together = group_advantages(rewards, everyone, scaling=scaling)
    for row in range(3):
        alone = group_advantages(rewards[row : row + 1], everyone[:1], scaling=scaling)
        torch.testing.assert_close(together[row : row + 1], alone)


def test_a_user_without_candidates_has_no_optimum_and_no_advantage():
    rewards, logs = torch.ones(2, 2), torch.zeros(2, 2)
    is_candidate = torch.tensor([[True, True], [False, False]])
    found = optimum_advantages(rewards, logs, logs, is_candidate, temperature=0.2)
    assert found.tolist() == [[0.0, 0.0], [0.0, 0.0]]
