"""The commands of the command line, as pipelines call them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.exceptions import TyperException

from sidestep.cli.main import command_named
from sidestep.pipelines.commands import MistakenArgumentError, Option


@dataclass(frozen=True, slots=True)
class TyperCommand:
    """A command of typer that a pipeline calls in this process; see `pipelines.commands.Command`.

    command: the loaded command.
    options: of the command.
    """

    command: Any
    options: Sequence[Option]

    def check(self, arguments: Sequence[str]) -> None:
        """Reads arguments and does nothing else.

        Raises:
            MistakenArgumentError: the command does not take them.
        """
        try:
            self.command.make_context(self.command.name, list(arguments))
        except TyperException as error:
            # What is missing has no message, only a parameter.
            message = str(getattr(error, "message", error)) or "must be given."
            about = getattr(getattr(error, "param", None), "name", None)
            raise MistakenArgumentError(
                message.removeprefix("Value error, "),
                key=about.replace("_", "-") if about else None,
            ) from error

    def run(self, arguments: Sequence[str]) -> None:
        """Runs the command, with its messages and errors."""
        with self.command.make_context(self.command.name, list(arguments)) as context:
            self.command.invoke(context)


@cache
def find_command(*words: str) -> TyperCommand:
    """The command of some words: "import", "table" is that of 'sidestep import table'.

    Raises:
        KeyError: there is none; lists those there are.
    """
    command = command_named(*words)
    hints = get_type_hints(command.callback)
    paths = {name for name, hint in hints.items() if Path in (hint, *get_args(hint))}
    return TyperCommand(command, [_option(known, paths) for known in command.params])


def _option(known: Any, paths: set[str]) -> Option:
    is_named = known.param_type_name != "argument"
    return Option(
        name=max(known.opts, key=len),
        all_names=tuple(known.opts) if is_named else (),
        off=next(iter(known.secondary_opts), None),
        is_flag=bool(getattr(known, "is_flag", False)),
        is_repeated=bool(getattr(known, "multiple", False)),
        is_path=known.name in paths,
    )
