import math

import torch

from sidestep.objectives.preference import softmax_dpo_loss


def loss(chosen, rejected, is_rejected=None, beta=1.0):
    rejected = torch.tensor([rejected])
    mask = torch.ones_like(rejected, dtype=torch.bool) if is_rejected is None else is_rejected
    return softmax_dpo_loss(torch.tensor([chosen]), rejected, mask, beta=beta).item()


def test_with_one_rejected_it_is_dpo():
    """-log σ(β (r_c - r_d)) at β = 2, r_c - r_d = 0.5: log(1 + e^-1)."""
    torch.testing.assert_close(loss(0.5, [0.0], beta=2.0), math.log1p(math.exp(-1)))


def test_two_rejected_as_good_as_the_chosen():
    """-log σ(-log 2) = log 3: the chosen item is one of three."""
    torch.testing.assert_close(loss(1.0, [1.0, 1.0]), math.log(3))


def test_padding_rejects_nobody():
    mask = torch.tensor([[True, False]])
    torch.testing.assert_close(loss(0.0, [1.0, 99.0], mask), loss(0.0, [1.0]))


def test_without_rejected_ones_there_is_nothing_to_learn():
    chosen = torch.tensor([0.3, 0.3], requires_grad=True)
    rejected = torch.tensor([[0.1], [0.1]], requires_grad=True)
    losses = softmax_dpo_loss(chosen, rejected, torch.tensor([[False], [True]]), beta=1.0)
    losses.sum().backward()
    assert losses[0] == 0
    assert chosen.grad[0] == 0
    assert chosen.grad[1] < 0  # the chosen item rises
    assert rejected.grad[1, 0] > 0
    assert chosen.grad.isfinite().all()
