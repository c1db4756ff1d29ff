"""Values, compared with arithmetic that a reader can check; independence of batch and width."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.objectives.value import (
    is_first_of_prefix,
    level_weights,
    mean_below,
    root_targets,
    shared_prefixes,
    step_rewards,
    td_loss,
    td_targets,
)

# Two levels. User 0 has the candidates 00, 01 and 10 with the target 01; user 1 has the same
# prefixes by number, one candidate and padding.
PREFIXES = torch.tensor([[[1, 10], [1, 11], [2, 12]], [[1, 10], [1, 10], [1, 10]]])
IS_CANDIDATE = torch.tensor([[True, True, True], [True, False, False]])
EMBEDDINGS = torch.tensor(
    [[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], [[0.0, -1.0], [5.0, 5.0], [5.0, 5.0]]]
)
TARGETS = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
IS_ON_PATH = torch.tensor(
    [
        [[True, False], [True, True], [False, False]],
        [[False, False], [False, False], [False, False]],
    ]
)
VALUES = torch.tensor(
    [[[0.2, 0.5], [0.2, 0.8], [-0.1, -0.4]], [[0.6, 1.0], [9.0, 9.0], [9.0, 9.0]]]
)
SHARED = shared_prefixes(PREFIXES, IS_CANDIDATE)


def rewards():
    return step_rewards(EMBEDDINGS, TARGETS, IS_ON_PATH, SHARED, (0.3, 1.0))


def test_published_weights_are_interpolated_at_relative_depths():
    assert level_weights(1) == (1.0,)
    assert level_weights(2) == pytest.approx((0.3, 1.0))
    assert level_weights(3) == pytest.approx((0.3, 0.5, 1.0))
    assert level_weights(4) == pytest.approx((0.3, 0.4333, 0.6667, 1.0), abs=1e-4)
    expected = (0.3, 0.357, 0.414, 0.471, 0.571, 0.714, 0.857, 1.0)
    assert level_weights(8) == pytest.approx(expected, abs=5e-4)


def test_mean_rewards_by_hand():
    means = mean_below(torch.tensor([[0.2, 0.6, 0.5], [0.3, 9.0, 9.0]]), SHARED)
    torch.testing.assert_close(means[0], torch.tensor([[0.4, 0.2], [0.4, 0.6], [0.5, 0.5]]))
    torch.testing.assert_close(means[1], torch.tensor([[0.3, 0.3], [0.0, 0.0], [0.0, 0.0]]))


def test_rewards_by_hand():
    expected = [
        # 00 and 01 share the right first code. 10 is at a right angle to the target.
        [[0.3, -1.0], [0.3, 1.0], [-0.3, -1.0]],
    ]
    torch.testing.assert_close(rewards()[:1], torch.tensor(expected))
    # The lone candidate of user 1 points away from the target: cos = -1.
    torch.testing.assert_close(rewards()[1, 0], torch.tensor([-0.6, -2.0]))


def test_the_embedding_of_a_wrong_prefix_is_the_mean_of_its_candidates():
    shared = shared_prefixes(PREFIXES[:1], IS_CANDIDATE[:1])
    off = torch.zeros_like(IS_ON_PATH[:1])
    got = step_rewards(EMBEDDINGS[:1], TARGETS[:1], off, shared, (0.3, 1.0))
    # The mean of (1, 0) and (0, 1) has cosine 1/√2 with (0, 1).
    assert got[0, 0, 0] == pytest.approx(-0.3 * (1 - 0.5**0.5))
    assert got[0, 1, 0] == got[0, 0, 0]


def test_td_targets_by_hand():
    got = td_targets(rewards(), VALUES, SHARED, gamma=0.99)
    # Below the first code 0: two candidates, worth .5 and .8.
    first = 0.3 + 0.99 * 0.65
    expected = [[first, -1.0], [first, 1.0], [-0.3 + 0.99 * -0.4, -1.0]]
    torch.testing.assert_close(got[0], torch.tensor(expected))
    torch.testing.assert_close(got[1, 0], torch.tensor([-0.6 + 0.99 * 1.0, -2.0]))
    roots = root_targets(VALUES, IS_CANDIDATE, gamma=0.99)
    # Two candidates below a child worth .2, one below -.1.
    torch.testing.assert_close(roots, torch.tensor([0.99 * 0.1, 0.99 * 0.6]))


def test_the_loss_counts_a_state_once_then_depths_by_users():
    errors = torch.tensor(
        [[[1.0, 1.0], [1.0, 2.0], [3.0, 3.0]], [[2.0, 4.0], [9.0, 9.0], [9.0, 9.0]]]
    )
    roots = torch.tensor([0.0, 2.0])
    got = td_loss(errors, roots, is_first_of_prefix(SHARED))
    # User 0: (1 + 9) / 2 and (1 + 4 + 9) / 3; user 1: 4 and 16.
    torch.testing.assert_close(got, torch.tensor([2.0, (5 + 4) / 2, (14 / 3 + 16) / 2]))


def test_a_user_without_candidates_counts_nowhere():
    none = torch.tensor([[True, True, True], [False, False, False]])
    shared = shared_prefixes(PREFIXES, none)
    errors = torch.ones(2, 3, 2)
    assert td_loss(errors, torch.ones(2), is_first_of_prefix(shared)).tolist() == [1, 1, 1]
    nobody = is_first_of_prefix(shared_prefixes(PREFIXES, torch.zeros_like(none)))
    assert td_loss(errors, torch.ones(2), nobody).tolist() == [0, 0, 0]


def test_targets_keep_their_digits_where_networks_run_in_half_precision():
    expected = td_targets(rewards(), VALUES, SHARED, gamma=0.99)
    with torch.autocast("cpu", torch.bfloat16):
        got = td_targets(rewards(), VALUES, SHARED, gamma=0.99)
    torch.testing.assert_close(got, expected)


def test_no_gradient_goes_through_a_target():
    values = VALUES.clone().requires_grad_()
    assert not td_targets(rewards(), values, SHARED, gamma=0.9).requires_grad
    assert not root_targets(values, IS_CANDIDATE, gamma=0.9).requires_grad


@given(st.data())
def test_padding_with_duplicates_and_other_users_change_nothing(data):
    codes = st.tuples(st.integers(0, 2), st.integers(0, 2))
    ids = data.draw(st.lists(codes, min_size=1, max_size=6, unique=True))
    prefixes = torch.tensor([[[first, 10 + 3 * first + second] for first, second in ids]])
    number = len(ids)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    embeddings = torch.randn(1, number, 4, generator=generator)
    target = torch.randn(1, 4, generator=generator)
    values = torch.randn(1, number, 2, generator=generator)
    on_path = prefixes == prefixes[:, :1]
    whole = torch.ones(1, number, dtype=torch.bool)

    def everything(prefixes, is_candidate, embeddings, target, on_path, values):
        shared = shared_prefixes(prefixes, is_candidate)
        rewards = step_rewards(embeddings, target, on_path, shared, (0.3, 1.0))
        targets = td_targets(rewards, values, shared, gamma=0.99)
        roots = root_targets(values, is_candidate, gamma=0.99)
        return shared, targets, roots

    shared, targets, roots = everything(prefixes, whole, embeddings, target, on_path, values)

    def doubled(values):
        """The user's row, twice as wide, after a row of another user."""
        wide = torch.cat([values, values], dim=1)
        return torch.cat([wide.flip(1), wide])

    is_candidate = doubled(whole)
    is_candidate[1, number:] = False
    other, other_targets, other_roots = everything(
        doubled(prefixes),
        is_candidate,
        doubled(embeddings),
        torch.cat([-target, target]),
        doubled(on_path),
        doubled(values),
    )
    torch.testing.assert_close(other_targets[1, :number], targets[0])
    torch.testing.assert_close(other_roots[1], roots[0])
    errors = values - targets
    alone = td_loss(errors, roots, is_first_of_prefix(shared))
    states = is_first_of_prefix(other)
    assert not states[1, number:].any()
    one = td_loss(doubled(values)[1:] - other_targets[1:], other_roots[1:], states[1:])
    torch.testing.assert_close(one, alone)


def test_a_user_without_candidates_leaves_gradients_finite():
    errors = torch.ones(2, 1, 2, dtype=torch.float64, requires_grad=True)
    is_state = torch.tensor([[[True, True]], [[False, False]]])
    loss = td_loss(errors, torch.ones(2, dtype=torch.float64), is_state)
    loss.sum().backward()
    assert errors.grad.tolist() == [[[2.0, 2.0]], [[0.0, 0.0]]]
