"""Imports at the time of use: of commands, and of modules that only the work of a command needs.

So `sidestep --help` needs none of the commands; and what a command says before its work begins,
such as its help or that a file is missing, needs no torch.
"""

import importlib
import itertools
from typing import Any

import typer
from typer.core import TyperCommand

from sidestep.lazy_imports import importing


class CheckedCommand(TyperCommand):
    """A command whose options do not take the next option for their value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `TyperCommand.parse_args`; an option without its value is named."""
        options = {
            name: option
            for option in self.params
            for name in (*option.opts, *option.secondary_opts)
        }
        known = {*options, *self.get_help_option_names(ctx)}
        before_arguments = itertools.takewhile(lambda word: word != "--", args)
        for name, following in itertools.pairwise(before_arguments):
            option = options.get(name)
            takes_value = option is not None and not getattr(option, "is_flag", True)
            if takes_value and following.startswith("-") and following in known:
                ctx.fail(f"{name} needs a value, and {following} follows it.")
        return super().parse_args(ctx, args)


class LazyCommand(TyperCommand):
    """Stands for a command, or for a group of commands, in the list of all."""

    def __init__(self, name: str, place: str, summary: str) -> None:
        """Says what to list and what to load.

        Args:
            name: of the command.
            place: "module:attribute" of its function, or of a `Typer` of several.
            summary: its line in the list, the first one of its docstring.
        """
        super().__init__(name=name, help=summary)
        self.place = place

    def loaded(self) -> Any:
        """The command itself."""
        module, _, attribute = self.place.partition(":")
        with importing():
            found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, typer.Typer):
            for command in found.registered_commands:
                command.cls = CheckedCommand
            return typer.main.get_command(found)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(self.name, cls=CheckedCommand)(found)
        return typer.main.get_command(alone)

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """The context of the command itself: from here on this one is out of the way."""
        return self.loaded().make_context(*arguments, **settings)
