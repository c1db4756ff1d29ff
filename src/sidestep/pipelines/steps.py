"""Steps of a pipeline: commands with their options, and what their products were made from."""

import difflib
import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sidestep.pipelines.commands import DRY_RUN, OVERWRITE, Command, MistakenArgumentError, Option
from sidestep.pipelines.training_step import Training

_OURS = ("--help", "--json", DRY_RUN, OVERWRITE)
"""Options of commands that a pipeline itself decides."""

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command that makes something.

    name: in the pipeline, and the section of its settings.
    words: of the command line before its options, "sidestep" included.
    command: the command itself.
    arguments: of the command, checked.
    product: the file or folder that it makes; None where it only prints.
    is_only_maker: whether no other command may change the product; after such a change the step
        runs again.
    made_from: all that its product depends on, as JSON.
    training: the work beside the command, where the command trains; else None.
    """

    name: str
    words: tuple[str, ...]
    command: Command = field(repr=False)
    arguments: tuple[str, ...]
    product: Path | None
    is_only_maker: bool = False
    made_from: dict[str, Any]
    training: Training | None = None

    @property
    def line(self) -> str:
        """The command as a shell has it."""
        return shlex.join([*self.words, *self.arguments])

    @property
    def digest(self) -> str:
        """A hash that stands for the product in the `made_from` of later steps."""
        text = json.dumps(self.made_from, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def can_be_dry(self) -> bool:
        """Whether the command can check its inputs and write nothing."""
        return self._takes(DRY_RUN)

    @property
    def overwriting(self) -> "Step":
        """The step with the option that lets its command replace an older product."""
        if not self._takes(OVERWRITE):
            return self
        return replace(self, arguments=(*self.arguments, OVERWRITE))

    def run(self, *more: str) -> None:
        """Runs the command in this process."""
        self.command.run([*self.arguments, *more])

    def prepare(self, changes: Sequence[str]) -> str | None:
        """Makes ready what the command finds when it runs.

        Args:
            changes: since the step last began, see `Memory.changes`.

        Returns:
            A sentence about what was moved away; None if nothing was.
        """
        return None if self.training is None else self.training.prepare(changes)

    def rehearse(self, changes: Sequence[str]) -> None:
        """Lets the command check its inputs, as they will be when it runs; nothing is written."""
        if self.training is None:
            self.run(DRY_RUN)
            return
        with self.training.rehearsal(changes) as instead:
            self.run(*instead, DRY_RUN)

    def _takes(self, option: str) -> bool:
        return any(option in known.all_names for known in self.command.options)


def arguments_of(
    command: Command,
    settings: Settings,
    fixed: Sequence[str],
    *,
    folder: Path,
    where: str,
    others: Sequence[str] = (),
) -> tuple[list[str], dict[str, Path]]:
    """Settings as the arguments of a command line.

    Args:
        command: has the options that the keys name, without dashes in front.
        settings: values by option; None is left out.
        fixed: arguments that the pipeline itself decides.
        folder: paths in the settings start here.
        where: the place of the settings, for errors.
        others: further keys of the section, which are no options; for errors.

    Returns:
        All arguments, and by key the settings that are files or folders: what the command reads.

    Raises:
        FileNotFoundError: a file or folder in the settings is not there.
        ValueError: the command has no such option, or takes no such value.
    """
    known = {option.key: option for option in command.options}
    arguments, paths = list(fixed), dict[str, Path]()
    free = [name for name, option in known.items() if not _is_decided(option, fixed)]
    legal = [*others, *free]
    for key, value in settings.items():
        option = known.get(key.replace("_", "-"))
        if option is None or option.key not in free:
            why = "there is no" if option is None else "the pipeline itself decides"
            near = difflib.get_close_matches(key, legal, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{where}: {why} {key!r}; there are {', '.join(legal)}.{hint}")
        if value is None:
            continue
        if isinstance(value, dict) or (isinstance(value, list) and not _are_plain(value)):
            raise ValueError(f"{where}: {key}: {value!r:.80} is no value of an option.")
        if option.is_path:
            value = os.path.relpath(folder / str(value))
            if not Path(value).exists():
                raise FileNotFoundError(f"{where}: {key}: {value} does not exist.")
            paths[key] = Path(value)
        arguments += _words(option, value)
    try:
        command.check(arguments)
    except MistakenArgumentError as error:
        about = "" if error.key is None else f"{error.key}: "
        raise ValueError(f"{where}: {about}{error}") from error
    return arguments, paths


def _is_decided(option: Option, fixed: Sequence[str]) -> bool:
    """Whether settings have no say in an option."""
    if not option.all_names:
        return bool(fixed) and not fixed[0].startswith("--")
    return any(name in fixed or name in _OURS for name in option.all_names)


def _are_plain(values: list[Any]) -> bool:
    return not any(isinstance(value, dict | list) for value in values)


def _words(option: Option, value: Any) -> list[str]:
    """One option with its value, as a command line has it."""
    if not option.all_names:
        return [str(value)]
    if option.is_flag:
        off = [] if option.off is None else [option.off]
        return [option.name] if value else off
    values = value if isinstance(value, list) else [value]
    if option.is_repeated:
        return [word for part in values for word in (option.name, str(part))]
    return [option.name, ",".join(map(str, values))]
