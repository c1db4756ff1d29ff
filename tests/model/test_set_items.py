"""Few items of a set of codes, looked up by definition, and their scores as codes."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.model.set_items import SetItems, SlotSets

# Codes 0 and 1 are of the first codebook, 2 to 4 of the second, 5 and 6 of the third.
CODES = torch.tensor([[0, 3, 5], [0, 4, 6], [1, 3, 5], [1, 2, 6], [0, 3, 5], [0, 3, 6]])


def listed(lists, *sets):
    width = max(1, *map(len, sets))
    decided = torch.tensor([[*codes, *[-1] * (width - len(codes))] for codes in sets])
    items, rows, is_few = lists.few(decided)
    assert set(rows.tolist()) <= set(is_few.nonzero()[:, 0].tolist())
    assert rows.equal(rows.sort().values)
    return [items[rows == row].tolist() for row in range(len(sets))]


def test_a_set_has_few_items_if_few_have_its_rarest_code():
    lists = SetItems(CODES, 7, most=2)
    assert listed(lists, [1], [4], [0], [0, 4], [1, 5], [0, 3], []) == [
        *([2, 3], [1], [], [1], [2], [], [])
    ]
    assert listed(SetItems(CODES, 7, most=99), [], [1]) == [[], [2, 3]]
    assert listed(SetItems(CODES, 7, most=4), [0, 3], [3, 0], [0, 3, 5], [4, 5]) == [
        *([0, 4, 5], [0, 4, 5], [0, 4], [])
    ]


@given(st.data())
def test_the_items_of_a_set_are_those_with_all_its_codes(data):
    lists = SetItems(CODES, 7, most=len(CODES))
    codes = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True))
    expected = [item for item, own in enumerate(CODES.tolist()) if set(codes) <= set(own)]
    assert sorted(listed(lists, codes)[0]) == expected


def test_scores_of_items_are_the_logits_of_their_codes_in_every_codebook():
    lists = SetItems(CODES, 7, most=4)
    items, rows, is_few = lists.few(torch.tensor([[-1], [0]]))
    assert is_few.tolist() == [False, True]
    scores = torch.randn(4, dtype=torch.float64, requires_grad=True)
    probs = scores.softmax(dim=0)
    none, by_code = lists.code_logits(scores, rows, items, 2)
    assert (none == -torch.inf).all()
    for codebook in ([0, 1], [2, 3, 4], [5, 6]):
        found = by_code[codebook].softmax(dim=0)
        for code, prob in zip(codebook, found, strict=True):
            own = [n for n, item in enumerate(items.tolist()) if code in CODES[item]]
            torch.testing.assert_close(prob, probs[own].sum())
    loss = by_code[torch.isfinite(by_code)].sum()
    loss.backward()
    assert scores.grad.isfinite().all()
    far = lists.code_logits(torch.tensor([0.0, -500.0, 0.0, -900.0]), rows, items, 2)[1]
    assert far[4] == -500.0  # an item far below the others keeps its code legal


def test_the_sets_of_slots_grow_along_parents_of_one_call_or_of_many():
    held = torch.tensor([[7]])
    codes, parents = torch.tensor([[4, 2, 9]]), torch.tensor([[0, 1, 2]])
    depths = torch.tensor([[1, 2, 3]])
    roots = torch.zeros(1, 1, 4)
    empty = SlotSets.at_roots(held, roots, None, num_steps=3)
    at_once = empty.with_nodes(codes, parents, depths, roots, None, is_chain=True)
    assert at_once.decided.tolist() == [[[-1, -1, -1], [4, -1, -1], [4, 2, -1], [4, 2, 9]]]
    step_by_step = empty
    for at in range(3):
        only = slice(at, at + 1)
        step_by_step = step_by_step.with_nodes(
            codes[:, only], parents[:, only], depths[:, only], roots, None, is_chain=False
        )
    assert step_by_step.decided.equal(at_once.decided)


@pytest.mark.parametrize("width", [1, 2])
def test_padding_in_a_tree_does_no_harm(width):
    roots = torch.zeros(2, 1, 4)
    slots = SlotSets.at_roots(torch.tensor([[7]] * 2), roots, None, num_steps=2)
    nodes = slots.with_nodes(
        torch.tensor([[3, 0], [1, 2]])[:, :width],
        torch.zeros(2, width, dtype=torch.long),
        torch.tensor([[1, -1], [1, 1]])[:, :width],
        roots,
        None,
        is_chain=False,
    )
    assert nodes.decided[:, 1].tolist() == [[3, -1], [1, -1]]
    assert list(itertools.chain(*nodes.decided[:, 0].tolist())) == [-1] * 4


def test_sets_of_few_items_are_told_without_their_items():
    lists = SetItems(CODES, 7, most=2)
    decided = torch.tensor([[1, -1], [4, -1], [0, -1], [0, 4], [1, 5], [0, 3], [-1, -1]])
    expected = [True, True, False, True, True, False, False]
    assert lists.are_few(decided).tolist() == expected
    assert lists.few(decided)[2].tolist() == expected
