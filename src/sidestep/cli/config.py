"""The configuration of a training run: YAML, with settings from the command line over it."""

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestep.cli.console import plain_problem
from sidestep.cli.entry import leaving_at_once
from sidestep.cli.kept_paths import seen
from sidestep.cli.plain_yaml import parse_yaml, read_yaml
from sidestep.model.config import (
    ProcessRewardConfig,
    SasRecConfig,
    TransformerConfig,
    ValueHeadConfig,
)
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

C = TypeVar("C", bound=BaseModel)

LARGEST = 10**9
"""No setting is meant to be larger; a larger one is a slip of the hand."""

_PATHS = ("backbone", "embeddings", "collaborative")
"""Keys of runs that name files and folders."""

_NUM_TOLD = 5
"""Problems that one error names."""


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

LearnedRun = TransformerRun | SasRecRun | BackboneRun

AnyRun = LearnedRun | PopularityRun

_KINDS: dict[str, type[AnyRun]] = {
    "transformer": TransformerRun,
    "sasrec": SasRecRun,
    "popularity": PopularityRun,
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
        FileNotFoundError: there is no such file, or what it names is not there.
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
    content = read_settings(path)
    named = {key: content.get(key) for key in _PATHS}
    content = with_settings(content, settings)
    for key, place in named.items():
        if isinstance(place, str) and content[key] == place and not Path(place).exists():
            raise FileNotFoundError(
                f"{path}: {key}: there is no {place}, seen from this file or from the working "
                f"directory; name it in the file, or with --set {key}=PATH."
            )
    return checked_run(content, str(path))


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


def checked(kind: type[C], content: dict[str, Any], source: str) -> C:
    """A configuration of any kind from plain values.

    Raises:
        ValueError: a key is unknown or a value not valid; names `source`, the key and what to do.
    """
    try:
        with leaving_at_once():  # a search by name imports its policy
            made = kind.model_validate(content)
    except ValidationError as error:
        problems = [_told(problem, kind) for problem in error.errors()]
        if len(problems) > _NUM_TOLD:
            problems[_NUM_TOLD:] = [f"and {len(problems) - _NUM_TOLD} more."]
        raise ValueError(f"{source}: {'; '.join(problems)}") from error
    dumped = made.model_dump()
    for name, value in _taken_for_numbers(content, dumped):
        raise ValueError(f"{source}: {name}: a number is wanted here, got {value}.")
    for name, number in _numbers(dumped):
        if not math.isfinite(number) or abs(number) > LARGEST:
            raise ValueError(f"{source}: {name}: {shown(number)} is out of all proportion.")
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
        _apply(content, setting)
    return content


def shown(value: Any) -> str:
    """A value in an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _apply(content: dict[str, Any], setting: str) -> None:
    name, separator, text = setting.partition("=")
    keys = name.strip().split(".")
    told = f"--set {shown(setting)}"
    if not separator or not all(keys):
        raise ValueError(f"{told}: write it as key=value, such as model.dim=64.")
    part = content
    for key in keys[:-1]:
        if part.get(key) is None:  # also where only comments stand below the key
            part[key] = {}
        part = part[key]
        if not isinstance(part, dict):
            raise ValueError(f"{told}: {key!r} holds a value and no further keys.")
    part[keys[-1]] = parse_yaml(text, told)


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
    elif isinstance(given, bool) and not isinstance(made, bool):
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
