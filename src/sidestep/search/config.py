"""Searches as configurations say them, beside the policies: to read one needs no torch.

Only a search by name needs its policy, which knows what it can be set to.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sidestep.lazy_imports import imported_when_used

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

    search: Literal["beam", "sampling", "value-beam", "ved"]
    """The policy."""

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
    def num_candidates(self) -> int:
        """Leaves that the search finds, at most."""
        return named.num_candidates(self.policy())
