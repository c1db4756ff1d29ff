"""Objectives of a user's own in a configuration: an import path and settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WrapValidator, field_validator

from sidestep.import_paths import imported, is_import_path
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.training import objective as objectives

B = TypeVar("B", bound=BaseModel)


class OwnObjectiveConfig(BaseModel):
    """An objective of a user's own and, beside its import path, its settings."""

    model_config = ConfigDict(frozen=True, extra="allow")

    objective: str = Field(min_length=1)
    """The import path of a class derived from `Objective`, such as
    my_package.my_module:MyObjective."""

    @field_validator("objective")
    @classmethod
    def _is_path(cls, objective: str) -> str:
        if not is_import_path(objective):
            raise ValueError(
                f"{objective!r:.60} is no import path; name a class as "
                "my_package.my_module:MyObjective"
            )
        return objective

    def made(self, network: Any) -> objectives.Objective:
        """The objective, which trains a network.

        Raises:
            ValueError: there is no such class, or the class takes no such settings.
        """
        found = imported(self.objective)
        if not (isinstance(found, type) and issubclass(found, objectives.Objective)):
            raise ValueError(
                f"objective: {self.objective} is no objective; derive the class from "
                "sidestep.training.objective.Objective."
            )
        make: Callable[..., objectives.Objective] = found
        try:
            made = make(network, **(self.model_extra or {}))
        except TypeError as error:
            raise ValueError(
                f"objective: {self.objective}: {error}; the class takes the network and the "
                "settings beside its import path."
            ) from error
        return made


def or_own(config: type[B]) -> WrapValidator:
    """A validator of a field that takes the settings of an objective or a user's own objective.

    A text is the import path of the user's own. So is the value of a key `objective`, beside which
    the settings stand.
    """

    def validated(value: Any, _handler: Callable[[Any], Any]) -> BaseModel:
        if isinstance(value, config | OwnObjectiveConfig):
            return value
        if isinstance(value, str):
            value = {"objective": value}
        if isinstance(value, dict) and "objective" in value:
            return OwnObjectiveConfig.model_validate(value)
        return config.model_validate(value)

    return WrapValidator(validated)
