"""Configurations of runs: the settings that kinds of run share, and how a kind makes its plan.

A kind of run is one file in `kinds`: a configuration with a method `prepare`. A user's own kind may
lie anywhere; its import path names it. Configurations need no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from sidestep.runs.plain_yaml import read_yaml, yaml_text
from sidestep.runs.settings import checked
from sidestep.search.config import GuidanceConfig
from sidestep.training.config import TrainingConfig, ValidationConfig

if TYPE_CHECKING:
    from sidestep.runs.plan import Given, Plan


R = TypeVar("R", bound="RunConfig")

NUM_TRIALS = 8
"""Trials of every method, where nobody says how many."""


class RunConfig(BaseModel, ABC):
    """A run of any kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """The name of the kind, or its import path, such as my_package.my_module:MyRun."""

    min_context: int = Field(0, ge=0)
    """Items that precede every position that is learned. Zero also learns the first item of every
    user, and so what to recommend where there is no history."""

    @property
    def needs_catalog(self) -> bool:
        """Whether a catalog with semantic IDs must be given.

        A run with a backbone takes the catalog of the backbone, and needs none.
        """
        return False

    @property
    def is_searched(self) -> bool:
        """Whether a search over semantic IDs recommends, which an evaluation may set."""
        return self.needs_catalog

    @property
    def search_space(self) -> Mapping[str, str]:
        """The settings that `sidestep tune` tries, and their values; empty where there are none.

        A name is `key.of.a.part`. Values are written as `log:1e-4..1e-2`, `0.1..0.5` or
        `64,128,256`, see `sidestep.runs.search_space.read_values`.
        """
        return {}

    @abstractmethod
    def prepare(self, given: Given) -> Plan:
        """The plan of a run; checks all that can be checked, and writes nothing.

        Raises:
            FileNotFoundError: a file or folder that the configuration names is not there.
            ValueError: configuration, dataset and catalog do not fit each other, or the network
                does not fit the memory.
        """

    @classmethod
    def from_yaml(cls: type[R], path: Path | str) -> R:
        """A configuration of this kind from a file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no YAML, or no such configuration; names the key.
        """
        return checked(cls, read_yaml(Path(path)), str(path))

    def to_yaml(self) -> str:
        """The configuration as YAML, which `from_yaml` reads back."""
        return yaml_text(self.model_dump(mode="json"))


class ReadingRun(RunConfig):
    """A run without a backbone."""

    max_history: int = Field(20, ge=1)
    """Most recent items of a history that are looked at."""


class TunableRun(RunConfig):
    """A run whose settings validation may choose (`sidestep tune`)."""

    trials: int | None = Field(None, ge=1, exclude_if=lambda trials: trials is None)
    """Validation trials by which these settings were chosen; `sidestep tune` writes the number. No
    step of a training depends on it; results files keep it. None where nobody counted."""


class LearnedRun(TunableRun):
    """A run that trains something."""

    training: TrainingConfig = TrainingConfig()
    validation: ValidationConfig = ValidationConfig()


class BackboneRun(LearnedRun):
    """A run that starts from a trained network, its backbone."""

    backbone: str = Field(min_length=1)
    """The folder of a run or of a bundle, whose network, catalog and `max_history` are taken."""


class ImprovingRun(BackboneRun):
    """A run that changes the weights of its backbone, which has learned from every position."""

    min_context: int = Field(1, ge=0)
    """Items that precede every target that is searched for. Zero also asks for the first item of
    every user, before which all histories are the same."""


class BesideRun(BackboneRun):
    """A run that trains another network beside its backbone.

    The backbone stays as it is, but for a process reward model that learns jointly with it.
    """

    guidance: GuidanceConfig = GuidanceConfig()
