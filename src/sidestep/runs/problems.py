"""Problems that pydantic finds in settings, in plain words; this file needs no pydantic."""

from typing import Any

_LIST, _PART = "a list is wanted here, [..]", "settings by name are wanted here, {name: value}"

_SHAPES = {
    **dict.fromkeys(("tuple_type", "list_type", "set_type"), _LIST),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), _PART),
}
"""Sentences about values of another shape than asked for, by the types of pydantic's problems."""


def plain_problem(problem: Any) -> str:
    """One problem that pydantic found, in plain words."""
    if problem["type"] in _SHAPES:
        return _SHAPES[problem["type"]]
    message: str = problem["msg"]
    return message.removeprefix("Value error, ").removesuffix(".")
