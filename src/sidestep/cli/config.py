"""The configuration of a training run: YAML, with settings from the command line over it."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sidestep.files import whole_file
from sidestep.model.sasrec import SasRecConfig
from sidestep.model.transformer import TransformerConfig
from sidestep.training.loop import TrainingConfig
from sidestep.training.next_code import NextCodeConfig
from sidestep.training.next_item import NextItemConfig
from sidestep.training.stages import ValidationConfig


class _RunConfig(BaseModel):
    """What every kind of run has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_history: int = Field(20, ge=1)
    """Most recent items of a history that are looked at."""

    min_context: int = Field(1, ge=0)
    """Items that precede every position that is learned; zero also learns the first one."""


class TransformerRun(_RunConfig):
    """A Transformer over semantic IDs."""

    kind: Literal["transformer"]
    model: TransformerConfig = TransformerConfig()
    objective: NextCodeConfig = NextCodeConfig()
    training: TrainingConfig = TrainingConfig()
    validation: ValidationConfig = ValidationConfig()


class SasRecRun(_RunConfig):
    """SASRec over item IDs."""

    kind: Literal["sasrec"]
    model: SasRecConfig = SasRecConfig()
    objective: NextItemConfig = NextItemConfig()
    training: TrainingConfig = TrainingConfig(learning_rate=1e-3, batch_size=128, epochs=60)
    validation: ValidationConfig = ValidationConfig()


class PopularityRun(_RunConfig):
    """Items by their count in the training part; nothing is learned."""

    kind: Literal["popularity"]


AnyRun = TransformerRun | SasRecRun | PopularityRun

_KINDS: dict[str, type[_RunConfig]] = {
    "transformer": TransformerRun,
    "sasrec": SasRecRun,
    "popularity": PopularityRun,
}
_ADAPTER: TypeAdapter[AnyRun] = TypeAdapter(Annotated[AnyRun, Field(discriminator="kind")])


def read_config(path: Path, settings: Sequence[str] = ()) -> AnyRun:
    """Reads a YAML file and lays settings over it.

    Args:
        path: of the file.
        settings: "key.of.a.part=value"; the value is YAML.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no YAML, a key is unknown, or a value is not valid; names the file
            or the setting, the key, and what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such configuration file.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ValueError(f"{path}{line}: not valid YAML ({problem}).") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold keys and values, such as 'kind: transformer'.")
    for setting in settings:
        _apply(content, setting)
    return checked_config(content, str(path))


def checked_config(content: dict[str, Any], source: str) -> AnyRun:
    """A configuration from plain values.

    Raises:
        ValueError: see `read_config`; `source` says where the values come from.
    """
    kind = content.get("kind")
    if kind not in _KINDS:
        raise ValueError(f"{source}: kind must be one of {', '.join(_KINDS)}, got {kind!r}.")
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        problems = [_told(problem, _KINDS[kind]) for problem in error.errors()]
        raise ValueError(f"{source}: {'; '.join(problems)}") from error


def plain_problem(problem: Any) -> str:
    """What pydantic says of one problem, in our words alone."""
    message: str = problem["msg"]
    return message.removeprefix("Value error, ").removesuffix(".")


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Writes plain values as YAML, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(
            yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )


def _apply(content: dict[str, Any], setting: str) -> None:
    """Lays one setting over nested values."""
    name, separator, text = setting.partition("=")
    keys = name.strip().split(".")
    if not separator or not all(keys):
        raise ValueError(f"--set {setting!r}: write it as key=value, such as model.dim=64.")
    part = content
    for key in keys[:-1]:
        part = part.setdefault(key, {})
        if not isinstance(part, dict):
            raise ValueError(f"--set {setting!r}: {key!r} holds a value and no further keys.")
    try:
        part[keys[-1]] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"--set {setting!r}: the value is not valid YAML.") from error


def _told(problem: Any, kind: type[BaseModel]) -> str:
    """One problem in a sentence, with the nearest valid key where a key is unknown."""
    keys = [str(key) for key in problem["loc"][1:]]  # the first is the kind
    name = ".".join(keys)
    if problem["type"] != "extra_forbidden":
        # The rule of a whole part names what it is about; its input would be the part itself.
        is_part = isinstance(problem["input"], dict)
        got = "" if is_part else f", got {problem['input']!r}"
        return f"{name or kind.__name__}: {plain_problem(problem)}{got}."
    owner: type[BaseModel] = kind
    for key in keys[:-1]:
        annotation = owner.model_fields[key].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        owner = annotation
    valid = list(owner.model_fields)
    near = difflib.get_close_matches(keys[-1], valid, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(valid)}."
    return f"unknown key {name!r}; {hint}"
