import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.objectives.semantic_reward import target_cosines

TARGET = torch.tensor([[3.0, 4.0]])


def test_cosines_by_hand():
    candidates = torch.tensor([[[3.0, 4.0], [4.0, -3.0], [-3.0, -4.0], [1.0, 0.0], [0.0, 0.0]]])
    expected = torch.tensor([[1.0, 0.0, -1.0, 0.6, 0.0]])
    torch.testing.assert_close(target_cosines(candidates, TARGET), expected)


@given(st.floats(0.125, 100, width=32), st.floats(0.125, 100, width=32))
def test_lengths_do_not_matter(length, target_length):
    candidates = torch.tensor([[[1.0, 2.0], [-2.0, 0.5]]])
    scaled = target_cosines(length * candidates, target_length * TARGET)
    torch.testing.assert_close(scaled, target_cosines(candidates, TARGET))


def test_every_user_has_a_target_of_their_own():
    candidates = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    targets = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert target_cosines(candidates, targets).tolist() == [[1.0], [0.0]]
