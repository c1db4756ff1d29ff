import math

import torch

from sidestep.model.log_sums import log_sums


def test_cells_have_the_log_of_their_sums_and_finite_gradients():
    scores = torch.tensor([math.log(2), math.log(3), -torch.inf, -800.0], requires_grad=True)
    found = log_sums(scores, torch.tensor([0, 0, 1, 3]), 4)
    torch.testing.assert_close(found, torch.tensor([math.log(5), -torch.inf, -torch.inf, -800.0]))
    found[[0, 3]].sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([0.4, 0.6, 0.0, 1.0]))
