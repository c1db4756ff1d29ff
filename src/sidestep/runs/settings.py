"""Settings: plain values of YAML and of `key=value`, checked by a configuration.

An error names the file or the argument, the key, and the nearest valid key.
"""

import difflib
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from sidestep.lazy_imports import importing
from sidestep.runs.plain_yaml import parse_yaml
from sidestep.runs.problems import plain_problem

C = TypeVar("C", bound=BaseModel)

LARGEST = 10**9
"""No setting is meant to be larger; a larger one is a slip of the hand."""

_NUM_TOLD = 5
"""Problems that one error names."""


def checked(
    kind: type[C], content: dict[str, Any], source: str, *, settings: Sequence[str] = ()
) -> C:
    """A configuration of any kind from plain values.

    Args:
        kind: of the configuration.
        content: the plain values.
        source: says in an error where the values come from.
        settings: those that `with_settings` laid over the values. An error about the value of a
            setting names the setting. An error about a rule of a whole part names `source`.

    Raises:
        ValueError: a key is unknown or a value not valid; names the source, the key and what to do.
    """

    def told(name: str, problem: str) -> str:
        return f"{_setting_of(name, settings) or source}: {problem}"

    try:
        with importing():  # a search by name imports its policy
            made = kind.model_validate(content)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        found = error.errors()
        for problem in found[:_NUM_TOLD]:
            name = ".".join(map(str, problem["loc"]))
            is_unknown = problem["type"] == "extra_forbidden"
            origin = _setting_of(name, settings, or_below=is_unknown) or source
            problems.setdefault(origin, []).append(_told(problem, kind))
        if len(found) > _NUM_TOLD:
            problems[next(reversed(problems))].append(f"and {len(found) - _NUM_TOLD} more.")
        message = "; ".join(f"{origin}: {'; '.join(each)}" for origin, each in problems.items())
        raise ValueError(message) from error
    dumped = made.model_dump()
    for name, value in _taken_for_numbers(content, dumped):
        raise ValueError(told(name, f"{name}: a number is wanted here, got {value}."))
    for name, number in _numbers(dumped):
        if not math.isfinite(number) or abs(number) > LARGEST:
            raise ValueError(told(name, f"{name}: {shown(number)} is out of all proportion."))
    return made


def with_settings(content: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Lays settings over plain values, in place.

    Args:
        content: as a file has it.
        settings: "key.of.a.part=value"; the value is YAML.

    Raises:
        ValueError: a setting is none, with what it should look like.
    """
    for setting in settings:
        told = f"--set {shown(setting)}"
        name, separator, text = setting.partition("=")
        if not separator or not is_name(name):
            raise ValueError(f"{told}: write it as key=value, such as model.dim=64.")
        lay_over(content, name, parse_yaml(text, told), told)
    return content


def _setting_of(name: str, settings: Sequence[str], *, or_below: bool = False) -> str | None:
    """The last setting that gave a key its value, as an error names it; None if there is none.

    With `or_below`, a setting of a key below this key counts, too.
    """
    for setting in reversed(settings):
        key = setting.partition("=")[0].strip()
        is_below = or_below and key.startswith(f"{name}.")
        if f"{name}.".startswith(f"{key}.") or is_below:
            return f"--set {shown(setting)}"
    return None


def is_name(name: str) -> bool:
    """Whether a text may name a setting: keys with points between them."""
    return all(name.strip().split("."))


def lay_over(content: dict[str, Any], name: str, value: Any, source: str) -> None:
    """Lays one value over plain values, in place.

    Args:
        content: as a file has it.
        name: "key.of.a.part".
        value: plain.
        source: says in an error where the name comes from.

    Raises:
        ValueError: a key on the way holds a value and no further keys.
    """
    keys = name.strip().split(".")
    part = content
    for key in keys[:-1]:
        if part.get(key) is None:  # also where only comments stand below the key
            part[key] = {}
        part = part[key]
        if not isinstance(part, dict):
            raise ValueError(f"{source}: {key!r} holds a value and no further keys.")
    part[keys[-1]] = value


def shown(value: Any) -> str:
    """A value in an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers within nested values, with the keys that lead there."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, f"{name}.{key}" if name else key)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part, name)
    elif isinstance(value, int | float):
        yield name, value


def _taken_for_numbers(given: Any, made: Any, name: str = "") -> Iterator[tuple[str, bool]]:
    """The truth values of which pydantic made numbers, True being 1, with their keys."""
    if isinstance(given, dict) and isinstance(made, dict):
        for key in given.keys() & made.keys():
            within = f"{name}.{key}" if name else key
            yield from _taken_for_numbers(given[key], made[key], within)
    elif isinstance(given, list) and isinstance(made, list | tuple):
        for part, its in zip(given, made, strict=False):
            yield from _taken_for_numbers(part, its, name)
    elif isinstance(given, bool) and isinstance(made, int | float) and not isinstance(made, bool):
        yield name, given


def _told(problem: Any, kind: type[BaseModel]) -> str:
    """One problem in a sentence, with the nearest valid key where a key is unknown."""
    keys = [str(key) for key in problem["loc"]]
    name = shown(".".join(keys))[1:-1]
    if problem["type"] != "extra_forbidden":
        # The rule of a whole part names what it is about; its input would be the part itself.
        is_part = isinstance(problem["input"], dict)
        got = "" if is_part else f", got {shown(problem['input'])}"
        return f"{name}{': ' if name else ''}{plain_problem(problem)}{got}."
    owner: type[BaseModel] = kind
    for key in keys[:-1]:
        field = owner.model_fields.get(key)
        parts = () if field is None else (field.annotation, *get_args(field.annotation))
        owner = next(
            (part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)),
            owner,
        )
    valid = list(owner.model_fields)
    near = difflib.get_close_matches(keys[-1], valid, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(valid)}."
    return f"unknown key '{name}'; {hint}"
