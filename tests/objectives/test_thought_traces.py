"""Traces of thoughts, worked by hand in a plane of four codes."""

import math

import pytest
import torch

from sidestep.objectives.thought_traces import ThoughtTrace

CODEWORDS = torch.tensor([[4.0, 0.0], [0.0, 4.0], [1.0, 0.0], [0.0, 0.0]])


def identity(vectors):
    return vectors


def trace(first, targets, *, codewords=CODEWORDS, to_residual=identity, to_state=identity, **more):
    settings = {"num_steps": 3, "commitment": 0.25, **more}
    return ThoughtTrace.made(
        torch.tensor(first),
        torch.tensor(targets),
        codewords,
        to_residual=to_residual,
        to_state=to_state,
        **settings,
    )


def test_each_code_is_the_nearest_to_what_is_still_missing():
    # From (0, 0) to (5, 3): (5, 3) is nearest to (4, 0), at a squared distance of 10; then (1, 3)
    # is missing, nearest to (0, 4), at 2; then (1, -1), nearest to (1, 0), at 1.
    made = trace([[0.0, 0.0]], [[5.0, 3.0]])
    assert made.codes.tolist() == [[0, 1, 2]]
    assert made.states.tolist() == [[[4.0, 0.0], [4.0, 4.0], [5.0, 4.0]]]
    # A mean over two dimensions, and 1.25 times it, as both parts of the loss are equal.
    assert made.quantisation.tolist() == [[1.25 * 5.0, 1.25 * 1.0, 1.25 * 0.5]]


def test_the_first_step_begins_at_the_history_and_later_steps_at_the_codes():
    # From (5, -1), (0, 4) is missing. The state after it is (0, 4), not (5, 3): (5, -1) is missing.
    made = trace([[5.0, -1.0]], [[5.0, 3.0]], num_steps=2)
    assert made.codes.tolist() == [[1, 0]]
    assert made.states.tolist() == [[[0.0, 4.0], [4.0, 4.0]]]


def test_residuals_and_states_go_through_their_own_maps():
    # Residual 2 (t - s): (2, 0) is nearest to (1, 0), at 1; the state is 3 times the sum, (3, 0);
    # then 2 (1 - 3, 0) = (-4, 0) is nearest to (0, 0), and the sum stays.
    made = trace(
        [[0.0, 0.0]],
        [[1.0, 0.0]],
        to_residual=lambda vectors: 2 * vectors,
        to_state=lambda sums: 3 * sums,
        num_steps=2,
        commitment=1.0,
    )
    assert made.codes.tolist() == [[2, 3]]
    assert made.states.tolist() == [[[3.0, 0.0], [3.0, 0.0]]]
    assert made.quantisation.tolist() == [[2 * 1 / 2, 2 * 16 / 2]]


def test_the_lower_code_wins_ties_and_another_target_gives_another_trace():
    made = trace([[0.0, 0.0]] * 2, [[3.0, 3.0], [0.0, 3.0]], num_steps=1)
    assert made.codes.tolist() == [[0], [1]]


def test_the_quantisation_moves_codewords_to_residuals_and_residuals_to_codewords():
    codewords = CODEWORDS.clone().requires_grad_()
    shift = torch.zeros(2, requires_grad=True)
    made = trace(
        [[0.0, 0.0]],
        [[5.0, 3.0]],
        codewords=codewords,
        to_residual=lambda vectors: vectors + shift,
        num_steps=1,
    )
    made.quantisation.sum().backward()
    # d/dd of |r - d|²/2 is d - r = (-1, -3); the residual moves a quarter as far, the other way.
    assert codewords.grad.tolist() == [[-1.0, -3.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert shift.grad.tolist() == [0.25, 0.75]


def test_the_gradient_of_a_state_goes_straight_to_the_residuals():
    codewords = CODEWORDS.clone().requires_grad_()
    shift = torch.zeros(2, requires_grad=True)
    made = trace(
        [[0.0, 0.0]],
        [[5.0, 3.0]],
        codewords=codewords,
        to_residual=lambda vectors: vectors + shift,
        num_steps=1,
    )
    (made.states[0, 0] * torch.tensor([2.0, 7.0])).sum().backward()
    assert shift.grad.tolist() == [2.0, 7.0]
    assert codewords.grad is None or not codewords.grad.any()


def test_states_are_told_from_the_targets_of_other_items():
    # Steps (1, 0) and (0, 1) of row 0, (0, 1) twice of rows 1 and 2. Rows 1 and 2 are one item.
    axes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    made = ThoughtTrace(
        codes=torch.zeros(3, 2, dtype=torch.long),
        states=torch.stack([3 * axes, axes[[1, 1]], axes[[1, 1]]]),
        quantisation=torch.zeros(3, 2),
    )
    targets = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    losses = made.contrast(targets, torch.tensor([7, 8, 8]), temperature=0.5)
    # Cosines are 1 or 0, divided by 1/2. Row 0 has two negatives, rows 1 and 2 have one.
    near, far = math.exp(2), 1.0
    first = -math.log(near / (near + 2 * far)) - math.log(far / (far + 2 * near))
    other = -math.log(near / (near + far))
    assert losses.tolist() == pytest.approx([first / 2, other, other], abs=1e-5)
