import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.objectives.code_sets import (
    code_masses,
    codebook_cross_entropies,
    codebook_soft_cross_entropies,
    mean_over_open,
    open_codebooks,
)

SIZES = (2, 3)
CODES = torch.tensor([[0, 0], [0, 2], [1, 2], [1, 1]])
FLAT = CODES + torch.tensor([0, 2])


def test_a_codebook_is_open_until_it_is_decided():
    is_open = open_codebooks(torch.tensor([[2, 0, 1], [0, 1, 2]]), 3)
    assert is_open.tolist() == [
        [[True, True, True], [True, True, False], [False, True, False]],
        [[True, True, True], [False, True, True], [False, False, True]],
    ]


def test_fewer_steps_than_codebooks_leave_the_rest_open():
    assert open_codebooks(torch.tensor([[1]]), 3).tolist() == [[[True, True, True]]]


def test_a_step_counts_its_open_codebooks_alone():
    losses = torch.tensor([[[1.0, 3.0], [5.0, 7.0]]])
    is_open = torch.tensor([[[True, True], [False, True]]])
    assert mean_over_open(losses, is_open).tolist() == [[2.0, 7.0]]
    assert mean_over_open(losses, torch.zeros(1, 2, 2, dtype=torch.bool)).tolist() == [[0.0, 0.0]]


def test_each_codebook_has_a_softmax_of_its_own():
    # Of two codes e : 1, of three codes 1 : 1 : e².
    logits = torch.tensor([[[1.0, 0.0, 0.0, 0.0, 2.0]]])
    losses = codebook_cross_entropies(logits, torch.tensor([[0, 1]]), SIZES)
    first = math.log(math.e + 1) - 1
    second = math.log(2 + math.e**2)
    assert losses.flatten().tolist() == pytest.approx([first, second])


def test_label_smoothing_spreads_over_one_codebook():
    logits = torch.tensor([[[1.0, 0.0, 0.0, 0.0, 2.0]]])
    [[[first, second]]] = codebook_cross_entropies(
        logits, torch.tensor([[0, 1]]), SIZES, label_smoothing=0.3
    ).tolist()
    log_sum = math.log(math.e + 1)
    assert first == pytest.approx(0.85 * (log_sum - 1) + 0.15 * log_sum)
    log_sum = math.log(2 + math.e**2)
    assert second == pytest.approx(0.7 * log_sum + 0.3 * (log_sum - 2 / 3))


def test_the_masses_are_those_of_the_items_that_agree_so_far():
    weights = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    path = CODES[1:2]
    masses = code_masses(weights, CODES, SIZES, path, torch.tensor([[0, 1]]))
    # At first all items; then items 0 and 1, which share the first code of item 1.
    assert masses.tolist() == [[[3, 12, 1, 8, 6], [3, 0, 1, 0, 2]]]
    masses = code_masses(weights, CODES, SIZES, path, torch.tensor([[1, 0]]))
    assert masses.tolist() == [[[3, 12, 1, 8, 6], [2, 4, 0, 0, 6]]]


@given(st.integers(0, 1000))
def test_masses_equal_their_definition(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = (3, 2, 4)
    codes = torch.stack([torch.randint(n, (9,), generator=generator) for n in sizes], dim=1)
    flat = codes + torch.tensor([0, 3, 5])
    weights = torch.rand(2, 9, generator=generator, dtype=torch.float64)
    targets = torch.randint(9, (2,), generator=generator)
    orders = torch.rand(2, 3, generator=generator).argsort(dim=1)
    masses = code_masses(weights, codes, sizes, codes[targets], orders)
    for row in range(2):
        for step in range(3):
            decided = orders[row, :step]
            agrees = (codes[:, decided] == codes[targets[row], decided]).all(dim=1)
            for action in range(9):
                has = (flat == action).any(dim=1)
                expected = weights[row][agrees & has].sum()
                torch.testing.assert_close(masses[row, step, action], expected)


def test_soft_targets_are_shares_within_a_codebook():
    logits = torch.tensor([[[1.0, 0.0, 0.0, 0.0, 2.0]]])
    masses = torch.tensor([[[1.0, 3.0, 0.0, 0.0, 0.0]]])
    [[[first, second]]] = codebook_soft_cross_entropies(logits, masses, SIZES).tolist()
    assert first == pytest.approx(math.log(math.e + 1) - 0.25)
    assert second == 0.0


def test_a_target_that_is_certain_is_the_plain_cross_entropy():
    logits = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    codes = CODES[:3]
    masses = torch.zeros(3, 2, 5)
    for row, own in enumerate(FLAT[:3].tolist()):
        masses[row, :, own] = 0.5
    torch.testing.assert_close(
        codebook_soft_cross_entropies(logits, masses, SIZES),
        codebook_cross_entropies(logits, codes, SIZES),
    )


def test_over_legal_codes_a_code_without_mass_takes_no_probability():
    logits = torch.tensor([[[1.0, 0.0, 5.0, 0.0, 2.0]]])
    masses = torch.tensor([[[1.0, 3.0, 0.0, 1.0, 1.0]]])
    [[[first, second]]] = codebook_soft_cross_entropies(
        logits, masses, SIZES, normaliser="legal"
    ).tolist()
    assert first == pytest.approx(math.log(math.e + 1) - 0.25)
    assert second == pytest.approx(math.log(1 + math.e**2) - 1)
