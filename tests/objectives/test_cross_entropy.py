import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.objectives.cross_entropy import next_code_cross_entropy, next_item_cross_entropy


def test_worked_example_per_level():
    logits = torch.tensor([[[0.0, math.log(3.0)], [0.0, -torch.inf]]])
    # Level 1: probabilities 1/4 and 3/4, target 1. Level 2: a codebook of one code is certain.
    losses = next_code_cross_entropy(logits, torch.tensor([[1, 0]]))
    torch.testing.assert_close(losses, torch.tensor([math.log(4 / 3), 0.0]))


def test_label_smoothing_spreads_over_the_codebook_of_each_level():
    logits = torch.tensor([[[0.0, math.log(3.0), -torch.inf], [0.0, 0.0, 0.0]]])
    losses = next_code_cross_entropy(logits, torch.tensor([[1, 2]]), label_smoothing=0.2)
    first = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)  # 0.8 + 0.2/2 on the target
    torch.testing.assert_close(losses, torch.tensor([first, math.log(3.0)]))


def test_padding_past_a_codebook_has_no_gradient():
    logits = torch.tensor([[[0.3, -0.2, -torch.inf]]], requires_grad=True)
    for smoothing in (0.0, 0.1):
        (gradient,) = torch.autograd.grad(
            next_code_cross_entropy(logits, torch.tensor([[0]]), label_smoothing=smoothing).sum(),
            logits,
        )
        assert torch.isfinite(gradient).all()
        assert gradient[0, 0, 2] == 0


@given(st.floats(0, 0.5, width=32), st.integers(0, 10_000))
def test_smoothing_agrees_with_torch_where_all_codebooks_are_full(smoothing, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 2, 7, generator=generator)
    codes = torch.randint(7, (5, 2), generator=generator)
    ours = next_code_cross_entropy(logits, codes, label_smoothing=smoothing)
    theirs = [
        torch.nn.functional.cross_entropy(
            logits[:, level], codes[:, level], label_smoothing=smoothing
        )
        for level in range(2)
    ]
    torch.testing.assert_close(ours, torch.stack(theirs))


def test_the_item_loss_is_the_log_of_the_catalog_size_when_all_scores_are_equal():
    loss = next_item_cross_entropy(torch.zeros(3, 8), torch.tensor([0, 4, 7]))
    assert float(loss) == pytest.approx(math.log(8))
