"""Search spaces: the settings of a run that tuning tries, and the values of each.

A kind of run declares its space as `RunConfig.search_space`. `study` draws from a space.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pydantic_core import to_jsonable_python

from sidestep.runs.config import checked_run
from sidestep.runs.plain_yaml import parse_yaml
from sidestep.runs.run_config import RunConfig, TunableRun
from sidestep.runs.settings import is_name, lay_over, shown

GRAMMAR = (
    "write log:1e-4..1e-2 or 0.1..0.5 for a range of numbers, 1..4 for whole numbers, or "
    "64,128,256 for a choice"
)
"""The forms of values, for errors."""

_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(?P<log>log:)?(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})")
_WHOLE = re.compile(r"[-+]?\d+")

_DIGITS = 3
"""Digits of a drawn number: a person can copy it, and no training tells it from its neighbours."""


@runtime_checkable
class Draws(Protocol):
    """A source of values, such as a trial of Optuna; it remembers the values of a name."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number from low to high."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number from low to high."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any:
        """One of the choices."""


class Values(ABC):
    """The values that tuning tries of one setting."""

    @property
    @abstractmethod
    def checked_values(self) -> Sequence[Any]:
        """Values to check: a configuration that takes these takes all values."""

    @abstractmethod
    def drawn(self, draws: Draws, name: str) -> Any:
        """The value of one trial."""

    @abstractmethod
    def as_drawn(self, value: Any) -> Any | None:
        """The answer of `Draws` for which `drawn` gives this value; None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRange(Values):
    """Numbers from low to high; drawn with three digits.

    is_log: whether all orders of magnitude are equally likely, instead of all numbers.
    """

    low: float
    high: float
    is_log: bool

    def __str__(self) -> str:
        return f"{'log:' if self.is_log else ''}{self.low!r}..{self.high!r}"

    @property
    def checked_values(self) -> tuple[float, float]:
        """See `Values.checked_values`."""
        return self.low, self.high

    def drawn(self, draws: Draws, name: str) -> float:
        """See `Values.drawn`."""
        return self._rounded(draws.suggest_float(name, self.low, self.high, log=self.is_log))

    def as_drawn(self, value: Any) -> float | None:
        """See `Values.as_drawn`; a number with more digits is none of the values."""
        if not _is_number(value) or not self.low <= value <= self.high:
            return None
        return float(value) if self._rounded(value) == value else None

    def _rounded(self, value: float) -> float:
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeRange(Values):
    """Whole numbers from low to high.

    is_log: see `NumberRange`.
    """

    low: int
    high: int
    is_log: bool

    def __str__(self) -> str:
        return f"{'log:' if self.is_log else ''}{self.low}..{self.high}"

    @property
    def checked_values(self) -> tuple[int, int]:
        """See `Values.checked_values`."""
        return self.low, self.high

    def drawn(self, draws: Draws, name: str) -> int:
        """See `Values.drawn`."""
        return int(draws.suggest_int(name, self.low, self.high, log=self.is_log))

    def as_drawn(self, value: Any) -> int | None:
        """See `Values.as_drawn`."""
        if not _is_number(value) or value != int(value) or not self.low <= value <= self.high:
            return None
        return int(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Values):
    """Values without an order.

    values: plain ones, such as numbers, texts, null, or lists of them.
    """

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ",".join(json.dumps(value, ensure_ascii=False) for value in self.values)

    @property
    def checked_values(self) -> tuple[Any, ...]:
        """See `Values.checked_values`."""
        return self.values

    def drawn(self, draws: Draws, name: str) -> Any:
        """See `Values.drawn`."""
        return json.loads(draws.suggest_categorical(name, self._texts))

    def as_drawn(self, value: Any) -> str | None:
        """See `Values.as_drawn`."""
        same = [choice for choice in self.values if json.dumps(choice) == json.dumps(value)]
        return json.dumps(same[0]) if same else None

    @property
    def _texts(self) -> list[str]:
        return [json.dumps(value) for value in self.values]


SearchSpace = Mapping[str, Values]
"""The values of each setting, by its name, such as `training.learning_rate`."""


def read_values(text: str, source: str) -> Values:
    """The values that a text stands for.

    Args:
        text: `0.1..0.5` for all numbers in between; `1..4`, both ends without a point, for whole
            numbers; `log:` before a range where orders of magnitude are to be equally likely;
            `64,128,256` for a choice, whose parts are YAML: `true,false`, `null,0.1`, or
            `[0.9, 0.98],[0.9, 0.999]`.
        source: says in an error where the text comes from.

    Raises:
        ValueError: the text has no such form, or stands for fewer than two values.
    """
    text = text.strip()
    found = _RANGE.fullmatch(text)
    if found is not None:
        return _range(found["low"], found["high"], is_log=found["log"] is not None, source=source)
    if ".." in text or text.startswith("log:"):
        raise ValueError(f"{source}: {shown(text)} is no range; {GRAMMAR}.")
    parts = parse_yaml(f"[{text}]", source)
    return _choice([_as_number(part) for part in parts], source)


def given_values(given: str | Sequence[Any], source: str) -> Values:
    """Values as text, see `read_values`, or as a list or tuple of choices."""
    return read_values(given, source) if isinstance(given, str) else _choice(list(given), source)


def read_space(arguments: Sequence[str]) -> dict[str, str]:
    """Arguments `key.of.a.part=VALUES` as texts by name.

    Raises:
        ValueError: an argument has another form, or names a setting a second time.
    """
    texts: dict[str, str] = {}
    for argument in arguments:
        name, separator, text = argument.partition("=")
        name = name.strip()
        if not separator or not is_name(name) or not text.strip():
            raise ValueError(
                f"--space {shown(argument)}: write it as key=values, such as "
                f"training.learning_rate=log:1e-4..1e-2; {GRAMMAR}."
            )
        if name in texts:
            raise ValueError(f"--space {shown(argument)}: {name} stands twice; write it once.")
        texts[name] = text
    return texts


def tunable(config: RunConfig) -> TunableRun:
    """A run of which validation can choose settings.

    Raises:
        ValueError: the kind of the run has no such settings.
    """
    if not isinstance(config, TunableRun):
        raise ValueError(
            f"a run of kind {config.kind} has no settings for validation to choose among; tune "
            "another kind, such as graph, sasrec or transformer."
        )
    return config


def space_of(
    config: RunConfig,
    given: Mapping[str, str | Sequence[Any]] | None = None,
    *,
    only: bool = False,
    fixed: Sequence[str] = (),
) -> SearchSpace:
    """The search space of a run: that of its kind, with the values that a user gives instead.

    Args:
        config: the settings that every trial starts from.
        given: values by name; they replace those that the kind declares.
        only: whether the space of the kind is left out.
        fixed: names of settings, or of whole parts, that keep the value of the configuration.

    Raises:
        ValueError: the space is empty, names a setting that does not exist, has a value that the
            setting does not take, or has a fixed setting.
    """
    given = {} if given is None else given
    space: dict[str, Values] = {}
    for name, text in ({} if only else config.search_space).items():
        if name not in given and not _is_fixed(name, fixed):
            source = f"the space of kind {config.kind}: {name}={text}"
            space[name] = _checked(config, name, read_values(text, source), source)
    for name, values in given.items():
        source = f"--space {name}={values}"
        if _is_fixed(name, fixed):
            raise ValueError(f"{source}: --set fixes {name}; leave one of the two out.")
        space[name] = _checked(config, name, given_values(values, source), source)
    if not space:
        raise ValueError(_why_empty(config, only=only))
    return space


def with_drawn(config: RunConfig, settings: Mapping[str, Any], source: str) -> RunConfig:
    """A configuration with other values of some settings.

    Args:
        config: the settings to change; it stays as it is.
        settings: plain values, by name.
        source: says in an error where the settings come from.

    Raises:
        ValueError: the values do not fit the configuration, or each other.
    """
    content = config.model_dump(mode="json")
    for name, value in settings.items():
        lay_over(content, name, value, source)
    return checked_run(content, source)


def start_of(config: RunConfig, space: SearchSpace) -> tuple[dict[str, Any], list[str]]:
    """The values of a configuration within a space.

    Returns:
        The answers of `Draws` by which a trial gets the values of the configuration, by name; and
        the names of the settings whose value lies outside of the space.
    """
    answers, outside = {}, []
    for name, values in space.items():
        answer = values.as_drawn(_value_of(config, name))
        if answer is None:
            outside.append(name)
        else:
            answers[name] = answer
    return answers, outside


def _value_of(config: RunConfig, name: str) -> Any:
    """The plain value of a setting, also of one that files leave out; None below a part of None."""
    part: Any = config
    for key in name.split("."):
        part = part.get(key) if isinstance(part, dict) else getattr(part, key, None)
    return to_jsonable_python(part)


def _is_fixed(name: str, fixed: Sequence[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in fixed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(part: Any) -> Any:
    """A number that YAML takes for a text, as 1e-4, which has no point."""
    is_number = isinstance(part, str) and re.fullmatch(_NUMBER, part) is not None
    return float(part) if is_number else part


def _range(low_text: str, high_text: str, *, is_log: bool, source: str) -> Values:
    is_whole = all(_WHOLE.fullmatch(text) for text in (low_text, high_text))
    low, high = float(low_text), float(high_text)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"{source}: the ends of a range must be finite numbers.")
    if low >= high:
        raise ValueError(f"{source}: {low_text} is not below {high_text}; write the smaller first.")
    if is_log and low <= 0:
        raise ValueError(
            f"{source}: a range with log: begins above 0; raise {low_text}, or leave log: out."
        )
    if is_whole:
        return WholeRange(low=int(low_text), high=int(high_text), is_log=is_log)
    return NumberRange(low=low, high=high, is_log=is_log)


def _choice(values: list[Any], source: str) -> Choice:
    texts = [json.dumps(value) for value in values]
    if len(texts) == 1 and isinstance(values[0], list):
        raise ValueError(f"{source}: one list is one value; write the choices without brackets.")
    if len(texts) < 2:
        raise ValueError(
            f"{source}: one value leaves nothing to choose; {GRAMMAR}, or fix the setting with "
            "--set."
        )
    if len(set(texts)) < len(texts):
        raise ValueError(f"{source}: a value stands twice; write each once.")
    return Choice(values=tuple(values))


def _checked(config: RunConfig, name: str, values: Values, source: str) -> Values:
    """The values, if the configuration takes each of them.

    Raises:
        ValueError: there is no such setting, or it does not take one of the values.
    """
    if name.split(".")[0] in ("kind", "trials", "validation"):
        raise ValueError(
            f"{source}: {name} cannot be tuned: trials that differ in it cannot be compared; fix "
            "it with --set, or leave it out."
        )
    for value in values.checked_values:
        with_drawn(config, {name: value}, source)
    return values


def _why_empty(config: RunConfig, *, only: bool) -> str:
    if only:
        return "--only: no --space names a setting, so there is nothing to try."
    if not config.search_space:
        return (
            f"a run of kind {config.kind} declares no search space; name the settings to try, such "
            "as --space training.learning_rate=log:1e-4..1e-2."
        )
    return "--set fixes every setting of the space, so there is nothing to try; leave some out."
