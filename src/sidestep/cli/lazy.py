"""Imports at the time of use: of commands, and of modules that only the work of a command needs.

So `sidestep --help` needs none of the commands; and what a command says before its work begins,
such as its help or that a file is missing, needs no torch.
"""

import importlib
from typing import Any

import typer
from typer.core import TyperCommand

from sidestep.lazy_imports import importing


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
            return typer.main.get_command(found)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(self.name)(found)
        return typer.main.get_command(alone)

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """The context of the command itself: from here on this one is out of the way."""
        return self.loaded().make_context(*arguments, **settings)
