"""K-FAC traces against matrices that are built in full."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sidestep.training.kfac import KfacSums

CPU = torch.device("cpu")


def alone(tensor):
    return tensor


def watched(sums, layer, inputs, scale):
    outputs = sums.layers[layer](inputs)
    sums.watch(layer, inputs, outputs, scale=scale)
    return outputs


@pytest.mark.parametrize("bias", [False, True])
def test_the_trace_is_that_of_the_kronecker_product(bias):
    """A and G are built from one backward pass per target, and multiplied out."""
    torch.manual_seed(0)
    layer, inputs, labels = nn.Linear(3, 4, bias=bias), torch.randn(5, 3), torch.arange(5) % 4
    a, g = torch.zeros(3 + bias, 3 + bias), torch.zeros(4, 4)
    for one, label in zip(inputs, labels, strict=True):
        outputs = layer(one)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(outputs, label), outputs)
        with_one = torch.cat([one, torch.ones(int(bias))])
        a += torch.outer(with_one, with_one) / 5
        g += torch.outer(gradient, gradient) / 5
    expected = torch.kron(a, g).trace()

    step, sums = KfacSums([layer], CPU), KfacSums([layer], CPU)
    # The loss is a mean over five targets, so five times its gradient is that of one target.
    functional.cross_entropy(watched(step, 0, inputs, 5.0), labels).backward()
    sums.add(step, 5, alone)
    assert sums.traces() == pytest.approx([expected.item()], rel=1e-5)


def test_worked_example_of_two_steps_and_several_positions():
    """One target per step, two positions per target, and the sum of outputs as the loss.

    |a|² = 1, 4, 9 and 16: the mean is 7.5. Each g is (1, 1), so |g|² = 2, and G sums two positions
    per target: 4. The trace is 7.5 · 4 = 30.
    """
    layer = nn.Linear(1, 2, bias=False)
    sums = KfacSums([layer], CPU)
    for inputs in (torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [4.0]]])):
        step = KfacSums([layer], CPU)
        watched(step, 0, inputs, 1.0).sum().backward()
        sums.add(step, 1, alone)
    assert sums.traces() == pytest.approx([30.0])
    assert sums.flops() == [2 * 4 * 2]  # two per weight, of four rows


def test_a_call_without_a_gradient_counts_as_work_only():
    layers = [nn.Linear(2, 2, bias=False), nn.Linear(2, 2)]
    step, sums = KfacSums(layers, CPU), KfacSums(layers, CPU)
    watched(step, 0, torch.ones(1, 2), 1.0).sum().backward()
    with torch.no_grad():
        watched(step, 0, torch.full((3, 2), 7.0), 1.0)
    sums.add(step, 1, alone)
    assert sums.traces() == pytest.approx([4.0, 0.0])  # |a|² = 2, |g|² = 2; never called
    assert sums.flops() == [32, 0]


def test_watching_changes_no_gradient():
    layer, inputs = nn.Linear(3, 2), torch.randn(4, 3, requires_grad=True)
    layer(inputs).square().sum().backward()
    expected = [inputs.grad.clone(), layer.weight.grad.clone()]
    inputs.grad = layer.weight.grad = None
    watched(KfacSums([layer], CPU), 0, inputs, 3.0).square().sum().backward()
    assert torch.equal(inputs.grad, expected[0])
    assert torch.equal(layer.weight.grad, expected[1])


def test_two_processes_add_up():
    layer = nn.Linear(2, 2, bias=False)
    step, sums = KfacSums([layer], CPU), KfacSums([layer], CPU)
    watched(step, 0, torch.ones(1, 2), 2.0).sum().backward()
    sums.add(step, 2, lambda tensor: 2 * tensor)  # the other process does the same
    assert sums.traces() == pytest.approx([2.0 * (2 * 8.0) / 2])
    assert sums.flops() == [2 * 2 * 4]


def test_sums_go_on_from_a_checkpoint():
    layer = nn.Linear(2, 3)
    step, sums, other = (KfacSums([layer], CPU) for _ in range(3))
    watched(step, 0, torch.randn(4, 2), 4.0).square().mean().backward()
    sums.add(step, 4, alone)
    other.load_state_dict(sums.state_dict())
    for one in (sums, other):
        one.add(step, 4, alone)
    assert other.traces() == sums.traces()
    assert other.flops() == sums.flops()
