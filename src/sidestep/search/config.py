"""Searches as configurations say them, beside the policies: to read one needs no torch.

Only a search by name needs its policy, which knows what it can be set to.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sidestep.import_paths import is_import_path
from sidestep.lazy_imports import imported_when_used
from sidestep.search.specs import SPECS, SearchSpec, spec_named

with imported_when_used():
    from sidestep.search import named
    from sidestep.search import policy as policies


class GuidanceConfig(BaseModel):
    """The guidance of a beam search by a prefix scorer, unless something else is said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    likelihood_weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """λ of y + λ · log π; 0 is the scorer alone, as published."""

    candidates_per_beam: int = Field(4, ge=1)
    """K+ / K."""


class NamedSearch(BaseModel):
    """A search and, beside its name, its settings as the fields of the policy are called.

    Whatever is not said is as the policy has it by default.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    search: str
    """The name of a search that needs nothing but settings (beam, value-beam, ved or sampling), or
    the import path of your own."""

    @field_validator("search")
    @classmethod
    def _is_plain(cls, search: str) -> str:
        plain = [spec.name for spec in SPECS.values() if spec.is_plain]
        if search not in plain and not (is_import_path(search) and spec_named(search).is_plain):
            raise ValueError(
                f"{search!r:.60} is no search that settings alone make; there are "
                f"{', '.join(plain)}, and your own by import path"
            )
        return search

    @model_validator(mode="after")
    def _fits(self) -> NamedSearch:
        self.policy()
        return self

    def policy(self) -> policies.SearchPolicy:
        """The search itself.

        Raises:
            ValueError: a setting is unknown or has no such value.
        """
        return named.made_policy(self.search, self.model_extra or {})

    @property
    def spec(self) -> SearchSpec:
        """The description of the search."""
        return spec_named(self.search)

    @property
    def num_candidates(self) -> int | None:
        """The largest number of leaves that the search finds; None where it does not tell."""
        return named.num_candidates(self.policy())
