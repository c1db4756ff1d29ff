import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.objectives.distillation import (
    PrefixRanges,
    SmallNodes,
    next_code_masses,
    next_code_probs,
    shares_of_masses,
    soft_cross_entropy,
)


def test_worked_example():
    semantic_ids = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 1]])
    at = PrefixRanges.of(semantic_ids, (2, 3))
    probs = next_code_probs(torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([2]), at)
    # First code: items 1 and 3 have 0, items 0 and 2 have 1. Below 1: 0.1 to code 0, 0.3 to 1.
    expected = torch.tensor([[[0.6, 0.4, 0.0], [0.25, 0.75, 0.0]]])
    torch.testing.assert_close(probs, expected)


@given(st.integers(0, 10_000), st.integers(1, 30))
def test_it_is_the_brute_force_conditional(seed, num_items):
    generator = torch.Generator().manual_seed(seed)
    sizes = (3, 2, 4)
    ids = torch.stack(
        [torch.randint(size, (num_items,), generator=generator) for size in sizes], dim=1
    )
    item_probs = torch.rand(5, num_items, generator=generator).softmax(dim=1)
    targets = torch.randint(num_items, (5,), generator=generator)
    probs = next_code_probs(item_probs, targets, PrefixRanges.of(ids, sizes))
    for row, target in enumerate(targets.tolist()):
        for level, size in enumerate(sizes):
            below = (ids[:, :level] == ids[target, :level]).all(dim=1)
            for code in range(size):
                mass = item_probs[row][below & (ids[:, level] == code)].sum()
                expected = mass / item_probs[row][below].sum()
                torch.testing.assert_close(probs[row, level, code], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(probs.sum(dim=2), torch.ones(5, 3))


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30))
def test_masses_of_parts_of_the_catalog_add_up_to_its_distribution(seed, num_items, chunk):
    generator = torch.Generator().manual_seed(seed)
    sizes = (3, 2, 4)
    ids = torch.stack(
        [torch.randint(size, (num_items,), generator=generator) for size in sizes], dim=1
    )
    weights = torch.rand(5, num_items, generator=generator) + 0.01
    targets = torch.randint(num_items, (5,), generator=generator)
    masses = sum(
        next_code_masses(weights[:, part], ids[part], ids[targets], 4)
        for part in torch.arange(num_items).split(chunk)
    )
    expected = next_code_probs(
        weights / weights.sum(dim=1, keepdim=True), targets, PrefixRanges.of(ids, sizes)
    )
    torch.testing.assert_close(shares_of_masses(masses), expected, atol=1e-5, rtol=1e-4)


def test_worked_example_of_small_nodes():
    semantic_ids = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]])
    nodes = SmallNodes.of(semantic_ids, most_items=2)
    # Code 0 has one item below, code 1 has four: of them, two and two share two codes.
    assert nodes.depths.tolist() == [2, 1, 2, 2, 2]
    rows, items = nodes.items_below(torch.tensor([4, 1, 0]))
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == [
        *((0, 2), (0, 4)),
        (1, 1),
        *((2, 0), (2, 3)),
    ]
    assert SmallNodes.of(semantic_ids, most_items=1).counts.tolist() == [0, 1, 0, 0, 0]


def test_a_certain_teacher_gives_the_plain_cross_entropy_and_finite_gradients():
    logits = torch.tensor([[[0.5, -1.0, -torch.inf]]], requires_grad=True)
    loss = soft_cross_entropy(logits, torch.tensor([[[0.0, 1.0, 0.0]]]))
    torch.testing.assert_close(loss, -logits.log_softmax(-1)[:, :, 1].mean(0))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.isfinite(gradient).all()
