"""A user's own searches, named by import path: a search is a dataclass, its fields are settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sidestep.import_paths import imported
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.search_names import NUM_BEAMS, Value

with imported_when_used():
    from sidestep.search import named
    from sidestep.search import policy as policies


def own_policy(
    path: str, *, beams: int | None, num_leaves: int, options: Mapping[str, Value]
) -> policies.SearchPolicy:
    """The search at an import path.

    Args:
        path: of a dataclass with a name and a method `search`, see `SearchPolicy`.
        beams: prefixes kept per level, if the class has a field `num_beams`; None: `NUM_BEAMS`.
        num_leaves: leaves that the search returns, if the class has a field `num_leaves`.
        options: further fields.

    Raises:
        ValueError: there is no such class, or it has no such field.
    """
    found = imported(path)
    is_class = isinstance(found, type) and dataclasses.is_dataclass(found)
    if not is_class or not callable(getattr(found, "search", None)):
        raise ValueError(
            f"{path}: is no search; name a dataclass with a name and a method 'search', see "
            "sidestep.search.policy.SearchPolicy."
        )
    known = named.settings_of(found)
    try:
        settings: dict[str, Any] = named.checked_settings(found, options, known)
    except ValueError as error:
        raise ValueError(f"the search {path}: {error}") from error
    if "num_beams" in known:
        settings.setdefault("num_beams", beams or NUM_BEAMS)
    elif beams is not None:
        raise ValueError(
            f"the search {path}: has no field 'num_beams' that could be {beams}; leave beams out."
        )
    if "num_leaves" in known:
        settings.setdefault("num_leaves", num_leaves)
    made: policies.SearchPolicy = found(**settings)
    return made
