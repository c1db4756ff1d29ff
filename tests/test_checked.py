"""Calls of the package are checked, so that no test passes on arrays of a wrong shape or type."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import Float, Int, TypeCheckError
from torch import Tensor

from sidestep.embedding.collaborative import cooccurrence_svd
from sidestep.objectives.advantages import group_advantages
from tests.checked import checked

check = checked(typechecker=beartype)


def refuses(call, *arguments):
    with pytest.raises(TypeCheckError):
        call(*arguments)


@check
def added(
    left: Float[Tensor, "rows columns"], right: Float[Tensor, " columns"], *, cut: int = 0
) -> Float[Tensor, "rows columns"]:
    return (left + right)[cut:]


def test_a_name_of_an_axis_is_one_size_within_a_call_and_free_in_the_next():
    for size in (2, 3):
        assert added(torch.zeros(4, size), torch.zeros(size)).shape == (4, size)
    refuses(added, torch.zeros(4, 2), torch.zeros(3))
    with pytest.raises(TypeCheckError):  # the rows that are returned
        added(torch.zeros(4, 2), torch.zeros(2), cut=1)
    refuses(added, torch.zeros(4, 2).long(), torch.zeros(2))
    refuses(added, torch.zeros(2), torch.zeros(2))


def test_a_call_within_a_call_has_axes_of_its_own():
    @check
    def outer(left: Float[Tensor, "rows columns"]) -> Float[Tensor, "columns rows"]:
        return added(left.T, left[:, 0])

    assert outer(torch.zeros(3, 5)).shape == (5, 3)


def test_what_has_no_axes_is_checked_too():
    @check
    def named(number: int, names: "list[str] | None" = None) -> str:
        return str(number) if names is None else names[number]

    assert named(1, ["a", "b"]) == "b"
    assert (named.__name__, list(named.__annotations__)) == ("named", ["number", "names", "return"])
    refuses(named, "1")
    refuses(named, 0, [None])
    refuses(named, 0, "ab")


def test_the_fields_of_a_dataclass_are_checked_together():
    @check
    @dataclasses.dataclass(frozen=True, slots=True)
    class Rows:
        items: Int[np.ndarray, " rows"]
        users: Int[np.ndarray, " rows"]

    Rows(np.zeros(2, int), np.zeros(2, int))
    refuses(Rows, np.zeros(2, int), np.zeros(3, int))


def test_the_arguments_of_a_generator_are_checked_at_the_call():
    @check
    def rows(left: Float[Tensor, "rows columns"], right: Float[Tensor, " columns"]):
        yield from left + right

    assert len(list(rows(torch.zeros(4, 2), torch.zeros(2)))) == 4
    refuses(rows, torch.zeros(4, 2), torch.zeros(3))


def test_a_size_may_be_that_of_an_argument():
    @check
    def zeros(size: int, made: int) -> Float[np.ndarray, "{size}"]:
        return np.zeros(made)

    assert zeros(2, 2).shape == (2,)
    refuses(zeros, 2, 3)


def test_functions_of_the_package_are_checked():
    refuses(group_advantages, torch.zeros(3))
    refuses(group_advantages, torch.zeros(3, 3).long())
    assert hasattr(cooccurrence_svd, "__wrapped__")


def test_a_name_that_only_a_type_checker_knows_is_anything():
    @check
    def hashed(digest: "hashlib._Hash", number: int) -> int:
        return number

    @check
    def mistaken(digest: "hashlib.Hashh") -> None: ...

    assert hashed("anything", 2) == 2
    refuses(hashed, "anything", "two")
    with pytest.raises(AttributeError, match="Hashh"):
        mistaken("anything")
