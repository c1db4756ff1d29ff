"""Steps of a pipeline: commands with their options, done again only when something changed."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.exceptions import TyperException

from sidestep.cli.outputs import OVERWRITE
from sidestep.cli.training_step import NEVER_RUN, Training
from sidestep.files import file_sha256, read_json, write_json

_OURS = ("--help", "--json", "--dry-run", OVERWRITE)

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command that makes something.

    name: in the pipeline, and the section of its settings.
    words: of the command line before its options, "sidestep" included.
    command: the loaded command.
    arguments: of the command, checked.
    product: what it makes; None where it only prints.
    is_only_maker: whether nobody else may change the product, so that it is made again where
        someone has.
    made_from: all that its product depends on, as JSON.
    training: what is to be done beside the command, where that trains.
    """

    name: str
    words: tuple[str, ...]
    command: Any = field(repr=False)
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
        """Stands for the product in the `made_from` of later steps."""
        text = json.dumps(self.made_from, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def can_be_dry(self) -> bool:
        """Whether the command can check its inputs and write nothing."""
        return self._takes("--dry-run")

    @property
    def overwriting(self) -> "Step":
        """The step that replaces what it made before, where its command would refuse to."""
        if not self._takes(OVERWRITE):
            return self
        return replace(self, arguments=(*self.arguments, OVERWRITE))

    def run(self, *more: str) -> None:
        """Runs the command in this process."""
        arguments = [*self.arguments, *more]
        with self.command.make_context(self.words[-1], arguments) as context:
            self.command.invoke(context)

    def prepare(self, changes: Sequence[str]) -> None:
        """Makes ready what the command finds when it runs.

        Args:
            changes: since the step last began, see `Memory.changes`.
        """
        if self.training is not None:
            self.training.prepare(changes)

    def rehearse(self, changes: Sequence[str]) -> None:
        """Lets the command check its inputs, as they will be when it runs; nothing is written."""
        if self.training is None:
            self.run("--dry-run")
            return
        with self.training.rehearsal(changes) as instead:
            self.run(*instead, "--dry-run")

    def _takes(self, option: str) -> bool:
        return any(option in known.opts for known in self.command.params)


def arguments_of(
    command: Any, settings: Settings, fixed: Sequence[str], *, folder: Path, where: str
) -> tuple[list[str], dict[str, Path]]:
    """Settings as a command line has them.

    Args:
        command: whose options the keys name, without dashes in front.
        settings: values by option; None is left out.
        fixed: arguments that the pipeline itself decides.
        folder: from where paths in the settings are seen.
        where: the settings stand, for errors.

    Returns:
        All arguments, and by key the settings that are files or folders: what the command reads.

    Raises:
        FileNotFoundError: a file or folder in the settings is not there.
        ValueError: the command has no such option, or takes no such value.
    """
    known = {_key(option): option for option in command.params}
    hints = get_type_hints(command.callback)
    file_options = [name for name, hint in hints.items() if Path in (hint, *get_args(hint))]
    arguments, paths = list(fixed), dict[str, Path]()
    has_positional = bool(fixed) and not fixed[0].startswith("--")
    for key, value in settings.items():
        option = known.get(key.replace("_", "-"))
        if option is None or _is_decided(option, fixed, has_positional=has_positional):
            free = [
                name
                for name, other in known.items()
                if not _is_decided(other, fixed, has_positional=has_positional)
            ]
            why = "there is no" if option is None else "the pipeline itself decides"
            raise ValueError(f"{where}: {why} {key!r}; there are {', '.join(free)}.")
        if value is None:
            continue
        if isinstance(value, dict) or (isinstance(value, list) and not _are_plain(value)):
            raise ValueError(f"{where}: {key}: {value!r:.80} is no value of an option.")
        if option.name in file_options:
            value = os.path.relpath(folder / str(value))
            if not Path(value).exists():
                raise FileNotFoundError(f"{where}: {key}: {value} does not exist.")
            paths[key] = Path(value)
        arguments += _words(option, value)
    try:
        command.make_context(command.name, list(arguments))
    except TyperException as error:
        # What is missing has no message, only a parameter.
        message = str(getattr(error, "message", error)) or "must be given."
        message = message.removeprefix("Value error, ")
        about = getattr(getattr(error, "param", None), "name", None)
        key = f"{about.replace('_', '-')}: " if about else ""
        raise ValueError(f"{where}: {key}{message}") from error
    return arguments, paths


def _is_decided(option: Any, fixed: Sequence[str], *, has_positional: bool) -> bool:
    """Whether settings have no say in an option."""
    if option.param_type_name == "argument":
        return has_positional
    return any(name in fixed or name in _OURS for name in option.opts)


def _are_plain(values: list[Any]) -> bool:
    return not any(isinstance(value, dict | list) for value in values)


def _key(option: Any) -> str:
    longest: str = max(option.opts, key=len)
    return longest.lstrip("-").replace("_", "-")


def _words(option: Any, value: Any) -> list[str]:
    """One option with its value, as a command line has it."""
    name = max(option.opts, key=len)
    if option.param_type_name == "argument":
        return [str(value)]
    if getattr(option, "is_flag", False):
        return [name] if value else list(option.secondary_opts[:1])
    values = value if isinstance(value, list) else [value]
    if getattr(option, "multiple", False):
        return [word for part in values for word in (name, str(part))]
    return [name, ",".join(map(str, values))]


class Memory:
    """What steps were made from when they last ran; `steps.json` in the pipeline's folder."""

    def __init__(self, file: Path) -> None:
        """Remembers what the file says; nothing, if there is none.

        Raises:
            ValueError: the file is damaged.
        """
        self._file = file
        self._known: dict[str, Any] = read_json(file) if file.is_file() else {}
        if not isinstance(self._known, dict):
            raise ValueError(
                f"{file}: not what a pipeline remembers; delete the folder to start anew."
            )
        self._known.setdefault("steps", {})
        self._known.setdefault("files", {})

    def changes(self, step: Step) -> list[str]:
        """What is different since the step last began; empty if nothing is."""
        last = self._known["steps"].get(step.name)
        if last is None:
            return [NEVER_RUN]
        return list(_differences(last["made_from"], step.made_from))

    def is_finished(self, step: Step) -> bool:
        """Whether the step ended the last time it began."""
        return bool(self._known["steps"].get(step.name, {}).get("finished"))

    def has_begun(self, name: str) -> bool:
        """Whether a step of that name ever began."""
        return name in self._known["steps"]

    def was_product_changed(self, step: Step) -> bool:
        """Whether someone else has changed what only the step may make; it is there."""
        assert step.product is not None
        made = self._known["steps"].get(step.name, {}).get("product")
        return step.is_only_maker and made != self.sha256(step.product)

    def input_of(self, step: Step, key: str) -> str | None:
        """What an input was when the step last began."""
        last = self._known["steps"].get(step.name, {"made_from": step.made_from})
        found: str | None = last["made_from"]["inputs"].get(key)
        return found

    def begin(self, step: Step) -> None:
        """Remembers that the step runs."""
        self._known["steps"][step.name] = {"finished": False, "made_from": step.made_from}
        write_json(self._file, self._known)

    def finish(self, step: Step) -> None:
        """Remembers that the step is over."""
        entry = self._known["steps"][step.name]
        entry["finished"] = True
        if step.is_only_maker and step.product is not None:
            entry["product"] = self.sha256(step.product)
        write_json(self._file, self._known)

    def sha256(self, path: Path) -> str:
        """Of a file, or of all files of a folder; read again only if time or size have changed."""
        if path.is_dir():
            parts = [
                (file.relative_to(path).as_posix(), self.sha256(file))
                for file in sorted(path.rglob("*"))
                if file.is_file()
            ]
            return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        state = path.stat()
        known = self._known["files"].get(str(path.resolve()))
        if known is not None and known[:2] == [state.st_size, state.st_mtime_ns]:
            return str(known[2])
        digest = file_sha256(path)
        self._known["files"][str(path.resolve())] = [state.st_size, state.st_mtime_ns, digest]
        return digest


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{name}.{key}" if name and name != "settings" else key
            yield from _differences(old.get(key), new.get(key), inner)
    elif old != new:
        if name.startswith(("inputs.", "after.")):
            yield f"{name.partition('.')[2]} changed"
        else:
            yield f"{name} was {old!r} and is {new!r}"
