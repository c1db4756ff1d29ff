"""The configuration of a training run: YAML, with settings from the command line over it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sidestep.model.config import (
    ProcessRewardConfig,
    SasRecConfig,
    TransformerConfig,
    ValueHeadConfig,
)
from sidestep.runs.kept_paths import seen
from sidestep.runs.plain_yaml import read_yaml
from sidestep.runs.settings import checked, shown, with_settings
from sidestep.search.config import GuidanceConfig, NamedSearch
from sidestep.training.alignment_config import AlignmentConfig
from sidestep.training.config import TrainingConfig, ValidationConfig
from sidestep.training.objective_config import (
    NextCodeConfig,
    NextItemConfig,
    PreferenceConfig,
    ProcessRewardTrainingConfig,
    ValueTrainingConfig,
)

_PATHS = ("backbone", "embeddings", "collaborative")
"""Keys of runs that name files and folders."""


class _RunConfig(BaseModel):
    """What every kind of run has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_context: int = Field(0, ge=0)
    """Items that precede every position that is learned. Zero also learns the first item of every
    user, and so what to recommend where there is no history."""


class _ReadingRun(_RunConfig):
    """What every kind of run has that does not go by another one."""

    max_history: int = Field(20, ge=1)
    """Most recent items of a history that are looked at."""


class TransformerRun(_ReadingRun):
    """A Transformer over semantic IDs."""

    kind: Literal["transformer"]
    model: TransformerConfig = TransformerConfig()
    objective: NextCodeConfig = NextCodeConfig()
    training: TrainingConfig = TrainingConfig()
    validation: ValidationConfig = ValidationConfig()


class SasRecRun(_ReadingRun):
    """SASRec over item IDs."""

    kind: Literal["sasrec"]
    model: SasRecConfig = SasRecConfig()
    objective: NextItemConfig = NextItemConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=60)
    validation: ValidationConfig = ValidationConfig()


class PopularityRun(_ReadingRun):
    """Items by their count in the training part; nothing is learned."""

    kind: Literal["popularity"]


class RepeatsRun(_ReadingRun):
    """A user's own most frequent items, then the popular ones; nothing is learned."""

    kind: Literal["repeats"]

    max_history: int = Field(1_000_000, ge=1)
    """Most recent items of a history that count; the default is all of them."""


class _FurtherRun(_RunConfig):
    """What goes by a trained network."""

    backbone: str = Field(min_length=1)
    """The network: a run or a bundle. The catalog and `max_history` are its own."""

    training: TrainingConfig = TrainingConfig()
    validation: ValidationConfig = ValidationConfig()


class _ImprovingRun(_FurtherRun):
    """What changes the weights of a network that has learned from every position already."""

    min_context: int = Field(1, ge=0)
    """Items that precede every target that is searched for. Zero also asks for the first item of
    every user, before which all histories are the same."""


class _BesideRun(_FurtherRun):
    """What is trained beside a trained network, which stays as it is."""

    guidance: GuidanceConfig = GuidanceConfig()


class ProcessRewardRun(_BesideRun):
    """A process reward model beside a Transformer."""

    kind: Literal["process-reward"]
    model: ProcessRewardConfig = ProcessRewardConfig()
    objective: ProcessRewardTrainingConfig = ProcessRewardTrainingConfig()


class ValueRun(_BesideRun):
    """A value head beside a network of semantic IDs."""

    kind: Literal["value"]

    embeddings: str = Field(min_length=1)
    """What rewards compare items by: the `.npy` file of `sidestep embed`, of the same dataset."""

    model: ValueHeadConfig = ValueHeadConfig()
    objective: ValueTrainingConfig = ValueTrainingConfig()

    candidates: NamedSearch = Field(
        default_factory=lambda: NamedSearch.model_validate(
            {"search": "sampling", "num_samples": 12, "temperature": 2.0}
        )
    )
    """The search that finds what values are learned on. A hot policy draws unlikely prefixes that
    are wrong, too: where only targets are unlikely, V learns to prefer the unlikely."""


class AlignRun(_ImprovingRun):
    """A trained network of semantic IDs, improved by reinforcement learning on rewards."""

    kind: Literal["align"]

    embeddings: str | None = None
    """What the reward `semantic` and values compare items by: the `.npy` of `sidestep embed`."""

    collaborative: str | None = None
    """What the reward `collaborative` asks: a run or a bundle of kind sasrec."""

    objective: AlignmentConfig = Field(default_factory=AlignmentConfig)


class PreferRun(_ImprovingRun):
    """A trained network of semantic IDs, taught to prefer what came next to what it would say."""

    kind: Literal["prefer"]

    objective: PreferenceConfig = Field(default_factory=PreferenceConfig)


BesideRun = ProcessRewardRun | ValueRun

PolicyRun = AlignRun | PreferRun

BackboneRun = BesideRun | PolicyRun

CountedRun = PopularityRun | RepeatsRun

LearnedRun = TransformerRun | SasRecRun | BackboneRun

AnyRun = LearnedRun | CountedRun

_KINDS: dict[str, type[AnyRun]] = {
    "transformer": TransformerRun,
    "sasrec": SasRecRun,
    "popularity": PopularityRun,
    "repeats": RepeatsRun,
    "process-reward": ProcessRewardRun,
    "value": ValueRun,
    "align": AlignRun,
    "prefer": PreferRun,
}


def read_config(path: Path | None, settings: Sequence[str] = ()) -> AnyRun:
    """Reads a YAML file and lays settings over it.

    Args:
        path: of the file; None takes the settings alone. The paths that the file names are seen
            from its folder; where nothing is there, from the working directory.
        settings: "key.of.a.part=value"; the value is YAML, and a path is seen from the working
            directory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no YAML, a key is unknown, or a value is not valid; names the file
            or the setting, the key, and what to do.
    """
    if path is None:
        if not any(setting.partition("=")[0].strip() == "kind" for setting in settings):
            raise ValueError(
                "give --config FILE, or say what to train without a file: --set kind=transformer "
                f"(kinds: {', '.join(_KINDS)})."
            )
        return checked_run(with_settings({}, settings), "--set")
    return checked_run(with_settings(read_settings(path), settings), str(path))


def refuse_missing(run: AnyRun, path: Path | None) -> None:
    """Refuses a run whose configuration names what is not there.

    Args:
        run: from `read_config`.
        path: of the file that was read, for the message; None for settings alone.

    Raises:
        FileNotFoundError: what a key names is not there; says which key, and in which file.
    """
    for key in _PATHS:
        place = getattr(run, key, None)
        if isinstance(place, str | Path) and not Path(place).exists():
            seen_from = "" if path is None else "this file or from "
            raise FileNotFoundError(
                f"{'--set' if path is None else path}: {key}: there is no {place}, seen from "
                f"{seen_from}the working directory; name it in the file, or with --set {key}=PATH."
            )


def read_settings(path: Path) -> dict[str, Any]:
    """The plain values of a YAML file for a run, with its paths as the working directory sees them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no YAML.
    """

    def found(name: str) -> str:
        place = seen(name, path.parent)
        return place if Path(place).exists() else name

    return with_paths(read_yaml(path), found)


def with_paths(content: dict[str, Any], renamed: Callable[[str], str]) -> dict[str, Any]:
    """The same settings of a run with its paths renamed.

    Args:
        content: plain values, checked or not.
        renamed: the new name of a path.
    """
    paths = {key: content.get(key) for key in _PATHS}
    return content | {
        key: renamed(path) for key, path in paths.items() if isinstance(path, str) and path
    }


def checked_run(content: dict[str, Any], source: str) -> AnyRun:
    """The configuration of a run from plain values.

    Raises:
        ValueError: see `read_config`; `source` says where the values come from.
    """
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"{source}: kind must be one of {', '.join(_KINDS)}, got {shown(kind)}.")
    return checked(_KINDS[kind], content, source)
