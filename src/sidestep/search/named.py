"""Policies from settings by name, as a file or a command line gives them."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from sidestep.search.policy import SearchPolicy
from sidestep.search.specs import spec_named


def made_policy(search: str, settings: Mapping[str, Any]) -> SearchPolicy:
    """The policy of a name or an import path; settings that are not given have their defaults.

    Raises:
        ValueError: there is no such search; a setting is unknown or has no such value.
    """
    policy = spec_named(search).policy_class()
    made: SearchPolicy = policy(**checked_settings(policy, settings, settings_of(policy)))
    return made


def num_candidates(policy: SearchPolicy) -> int | None:
    """The largest number of leaves that a search finds; None where a user's own does not tell."""
    names = ("num_leaves", "num_samples", "num_beams")
    found: int | None = next(
        (getattr(policy, name) for name in names if hasattr(policy, name)), None
    )
    return found


def settings_of(policy: type[Any]) -> dict[str, Any]:
    """The settings of a policy with their defaults, `MISSING` where it makes or demands them."""
    return {field.name: field.default for field in fields(policy) if field.name != "name"}


def checked_settings(
    policy: type[Any], given: Mapping[str, Any], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of a policy, brought to the types of its fields.

    Args:
        policy: a dataclass; what values it accepts of a type, it says itself when it is made.
        given: by name, as a file has them.
        known: the settings that may be given.

    Raises:
        ValueError: a setting is not known, or of another type; names it, and what there is.
    """
    hints = get_type_hints(policy)
    checked = {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"perhaps {near[0]!r} is meant." if near else f"there are {', '.join(known)}."
            raise ValueError(f"unknown setting {name!r:.80}; {hint}")
        try:
            checked[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]
            if problem["type"] == "value_error":  # of our own, which say what they got
                raise ValueError(f"{name}: {problem['ctx']['error']}") from error
            raise ValueError(f"{name}: {problem['msg']}, got {value!r:.80}.") from error
        # pydantic reads True as 1.
        if isinstance(value, bool) and not isinstance(checked[name], bool):
            raise ValueError(f"{name}: a number is wanted here, got {value}.")
        # pydantic reads the text "nan" as a number, which no comparison in a policy refuses.
        if isinstance(checked[name], float) and not math.isfinite(checked[name]):
            raise ValueError(f"{name}: {value!r:.80} is no finite number.")
    return checked
