import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sidestep.objectives.cross_entropy import (
    beam_aware_weights,
    binary_cross_entropy,
    chunked_item_cross_entropy,
    gbce_power,
    next_code_cross_entropy,
    next_item_cross_entropy,
    per_target_cross_entropy,
)
from sidestep.objectives.negatives import PerTargetNegatives


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


def beam_aware(probs, codes, **options):
    logs = torch.tensor([probs]).log()
    settings = {"width": 2, "weight": 1.0, "temperature": 1.0, **options}
    return beam_aware_weights(logs, torch.tensor([codes]), **settings)[0]


def test_codes_that_a_beam_keeps_count_more_than_those_it_loses():
    """A beam of two over .5, .3, .2: the second code is the threshold, σ(0) = 1/2.

    Before the mean, the weights are 1 + σ(ln 5/3) = 1 + 5/8, 1 + 1/2 and 1 + σ(ln 2/3) = 1 + 2/5.
    """
    rows = [[0.5, 0.3, 0.2]] * 3
    expected = torch.tensor([1 + 5 / 8, 1.5, 1.4])
    torch.testing.assert_close(beam_aware(rows, [0, 1, 2]), expected / expected.mean())


def test_a_hopeless_code_counts_as_in_plain_likelihood_and_not_more():
    weights = beam_aware([[0.5, 0.5 - 1e-9, 1e-9]] * 2, [0, 2])
    assert weights[0] > 1 > weights[1]


def test_a_code_without_an_alternative_decides_nothing():
    weights = beam_aware([[1.0, 0.0, 0.0], [0.5, 0.3, 0.2]], [0, 0])
    torch.testing.assert_close(weights, torch.ones(2))


def test_the_temperature_says_how_near_is_nearly():
    """Half a nat apart: σ(ln(5/3) / ½) = σ(ln 25/9) = 25/34, σ(0) = 1/2, σ(ln(2/3) / ½) = 4/13."""
    rows = [[0.5, 0.3, 0.2]] * 3
    expected = torch.tensor([1 + 3 * 25 / 34, 1 + 3 / 2, 1 + 3 * 4 / 13])
    found = beam_aware(rows, [0, 1, 2], temperature=0.5, weight=3.0)
    torch.testing.assert_close(found, expected / expected.mean())


@given(
    st.integers(0, 10_000),
    st.floats(0.125, 2, width=32),
    st.floats(0.25, 4, width=32),
    st.integers(1, 4),
)
def test_the_gradient_is_that_of_the_published_regulariser(seed, weight, temperature, width):
    """CE + μ Σ log σ((log β - log p) / ξ) with constant β and μ = λ ξ, up to one factor."""
    generator = torch.Generator().manual_seed(seed)
    logs = torch.randn(5, 2, 4, generator=generator).log_softmax(dim=-1)
    codes = torch.randint(4, (5, 2), generator=generator)
    own = logs.gather(2, codes[..., None])[..., 0].requires_grad_()
    threshold = logs.topk(width, dim=2).values[..., -1]
    held = torch.nn.functional.logsigmoid((threshold - own) / temperature)
    loss = (-own + weight * temperature * held).sum()
    (gradient,) = torch.autograd.grad(loss, own)
    weights = beam_aware_weights(logs, codes, width=width, weight=weight, temperature=temperature)
    torch.testing.assert_close(weights, gradient / gradient.mean())


def test_weights_multiply_the_losses_of_codes():
    logits = torch.zeros(2, 1, 4)
    codes = torch.tensor([[0], [1]])
    weighted = next_code_cross_entropy(logits, codes, weights=torch.tensor([[2.0], [0.5]]))
    torch.testing.assert_close(weighted, next_code_cross_entropy(logits, codes) * 1.25)
    smoothed = next_code_cross_entropy(
        logits, codes, weights=torch.tensor([[2.0], [0.5]]), label_smoothing=0.1
    )
    torch.testing.assert_close(smoothed, weighted)


class LargestArray(TorchDispatchMode):
    """Watches how many numbers the largest array has that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 50), st.sampled_from([0.0, 0.3]))
def test_in_chunks_the_loss_and_its_gradients_are_the_same(seed, num_items, chunk, smoothing):
    torch.manual_seed(seed)
    states = torch.randn(4, 3, requires_grad=True)
    rows = torch.randn(num_items, 3, requires_grad=True)
    bias = torch.randn(num_items, requires_grad=True)
    items, weights = torch.randint(num_items, (4,)), torch.rand(4)
    exact = next_item_cross_entropy(
        states @ rows.T + bias, items, label_smoothing=smoothing, weights=weights
    )
    chunked = chunked_item_cross_entropy(
        lambda some, chunk: states @ some.T + bias[chunk],
        rows,
        items,
        label_smoothing=smoothing,
        weights=weights,
        chunk_items=chunk,
    )
    torch.testing.assert_close(chunked, exact)
    found, expected = (torch.autograd.grad(one, (states, rows, bias)) for one in (chunked, exact))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_in_chunks_no_array_has_an_entry_per_target_and_item():
    states = torch.randn(50, 2, requires_grad=True)
    rows = torch.randn(400, 2, requires_grad=True)
    items = torch.arange(50)
    with LargestArray() as exact:
        next_item_cross_entropy(states @ rows.T, items).backward()
    with LargestArray() as chunked:
        chunked_item_cross_entropy(
            lambda some, _: states @ some.T, rows, items, chunk_items=16
        ).backward()
    assert exact.numbers == 50 * 400
    assert chunked.numbers <= max(50 * 25, 50 * 16, 400 * 2)  # 25 chunks of 16 items


TARGETS = torch.tensor([0.0, math.log(3.0)])
SCORES = torch.tensor([[0.0, math.log(2.0)], [math.log(3.0), -1.0]])
NEGATIVES = PerTargetNegatives(
    items=torch.tensor([[4, 5], [7, 2]]),
    is_negative=torch.tensor([[True, True], [True, False]]),  # the last draw is the target
    log_weights=torch.tensor([[0.0, math.log(3.0)], [math.log(5.0), 9.0]]),
)


def test_worked_example_of_a_sampled_softmax():
    """Targets weigh 1 of 1 + 1 + 2, and 3 of 3 + 3."""
    loss = per_target_cross_entropy(TARGETS, SCORES, NEGATIVES, log_q=False)
    torch.testing.assert_close(loss, torch.tensor((math.log(4) + math.log(2)) / 2))
    # With correction 1 of 1 + 1 + 3 * 2, and 3 of 3 + 5 * 3.
    loss = per_target_cross_entropy(TARGETS, SCORES, NEGATIVES, log_q=True)
    torch.testing.assert_close(loss, torch.tensor((math.log(8) + math.log(6)) / 2))
    weights = torch.tensor([0.5, 0.0])
    loss = per_target_cross_entropy(TARGETS, SCORES, NEGATIVES, log_q=False, weights=weights)
    torch.testing.assert_close(loss, torch.tensor(0.5 * math.log(4) / 2))


def test_worked_example_of_a_binary_loss():
    """Probabilities of the targets: 1/2 and 3/4; of the negatives: 1/2 and 2/3, and 3/4."""
    first = math.log(2) + math.log(2) + math.log(3)
    second = math.log(4 / 3) + math.log(4)
    loss = binary_cross_entropy(TARGETS, SCORES, NEGATIVES)
    torch.testing.assert_close(loss, torch.tensor((first + second) / 3 / 2))
    # The power of a target multiplies its logarithm.
    first, second = first - 0.6 * math.log(2), second - 0.6 * math.log(4 / 3)
    weighted = binary_cross_entropy(
        TARGETS, SCORES, NEGATIVES, power=0.4, weights=torch.tensor([1.0, 0.5])
    )
    torch.testing.assert_close(weighted, torch.tensor((first + 0.5 * second) / 3 / 2))


def test_the_power_of_gbce_goes_from_1_to_the_share_of_items_that_is_drawn():
    assert gbce_power(25, 101, 0.0) == 1
    assert gbce_power(25, 101, 1.0) == pytest.approx(0.25)
    assert gbce_power(25, 101, 0.75) == pytest.approx(0.75 * 0.25 + 0.25)


def test_gbce_with_full_calibration_learns_the_probabilities_of_the_items():
    """Three items of probabilities .6, .3 and .1: the sigmoids become these numbers."""
    torch.manual_seed(0)
    probs, num_draws = torch.tensor([0.6, 0.3, 0.1]), 1
    scores = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.05)
    # The exact expectation over targets and uniform draws among the other items.
    pairs = [(item, other) for item in range(3) for other in range(3) if other != item]
    targets, others = torch.tensor(pairs).T
    draws = PerTargetNegatives(
        items=others[:, None],
        is_negative=torch.ones(6, 1, dtype=torch.bool),
        log_weights=torch.zeros(6, 1),
    )
    weights = probs[targets] / 2 * 6
    power = gbce_power(num_draws, 3, 1.0)
    for _ in range(600):
        optimizer.zero_grad()
        binary_cross_entropy(
            scores[targets], scores[others][:, None], draws, power=power, weights=weights
        ).backward()
        optimizer.step()
    torch.testing.assert_close(scores.sigmoid(), probs, atol=2e-3, rtol=0)
