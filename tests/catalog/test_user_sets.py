"""Sets per user, compared with sets of Python."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.catalog.user_sets import distinct, is_among

NUMBERS = st.integers(-1, 6)


@st.composite
def tables(draw, num_users, widths):
    width = draw(widths)
    rows = st.lists(NUMBERS, min_size=width, max_size=width)
    drawn = draw(st.lists(rows, min_size=num_users, max_size=num_users))
    return torch.tensor(drawn, dtype=torch.long).view(num_users, width)


@given(tables(3, st.integers(0, 8)), tables(3, st.integers(0, 8)))
def test_members_are_found_among_those_of_their_user(members, others):
    expected = [
        [member != -1 and member in own for member in row]
        for row, own in zip(members.tolist(), others.tolist(), strict=True)
    ]
    assert is_among(members, others).tolist() == expected


def test_members_may_stand_in_any_shape():
    members = torch.tensor([[[1, 2], [3, -1]], [[1, 2], [3, -1]]])
    others = torch.tensor([[3, -1, 1], [2, 2, -1]])
    expected = [[[True, False], [True, False]], [[False, True], [False, False]]]
    assert is_among(members, others).tolist() == expected
    assert is_among(members.movedim(2, 1), others).movedim(1, 2).tolist() == expected


@given(tables(2, st.integers(0, 8)))
def test_distinct_members_ascend_and_stand_once(members):
    for row, found in zip(members.tolist(), distinct(members).tolist(), strict=True):
        assert [member for member in found if member != -1] == sorted(set(row) - {-1})
