import pytest
import torch

from sidestep.objectives.diversity import step_diversity

THIRDS = torch.tensor([0.0, 0.0]), torch.tensor([3.0, 1.0]).log()


def test_worked_example():
    """KL of (1/2, 1/2) to (3/4, 1/4) is log(2 / √3); the other way it is 3/4 log 3 - log 2."""
    scores = torch.stack(THIRDS)[None]
    there = torch.tensor(2 / 3**0.5).log()
    back = 0.75 * torch.tensor(3.0).log() - torch.tensor(2.0).log()
    torch.testing.assert_close(step_diversity(scores), ((there + back) / 2)[None])


def test_equal_steps_are_not_diverse():
    scores = torch.randn(5, 1, 7).expand(-1, 3, -1)
    torch.testing.assert_close(step_diversity(scores), torch.zeros(5), atol=1e-6, rtol=0)


def test_a_step_moves_by_its_own_divergences_alone():
    """KL(p_i || p_j) has a gradient at p_i, and none at p_j."""
    scores = torch.stack(THIRDS)[None].requires_grad_()
    step_diversity(scores).sum().backward()
    # d KL(p || q) / d z = p (log(p / q) - KL)
    for own, other, found in ((0, 1, scores.grad[0, 0]), (1, 0, scores.grad[0, 1])):
        p, q = THIRDS[own].softmax(0), THIRDS[other].softmax(0)
        ratio = (p / q).log()
        torch.testing.assert_close(found, p * (ratio - (p * ratio).sum()) / 2)


def test_one_step_is_refused():
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        step_diversity(torch.zeros(2, 1, 3))
