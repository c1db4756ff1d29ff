"""Commands as a pipeline sees them: options, a check of arguments, and a call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

OVERWRITE, DRY_RUN = "--overwrite", "--dry-run"
"""Options that a pipeline gives to the commands that have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a command, or an argument that stands without a name.

    name: the longest one, with its dashes.
    all_names: the long and short ones; empty for an argument without a name.
    off: the name that switches a flag off; None where there is none.
    is_flag: whether the name alone says the value.
    is_repeated: whether the option is given once for each of several values.
    is_path: whether the value is a file or a folder.
    """

    name: str
    all_names: tuple[str, ...]
    off: str | None = None
    is_flag: bool = False
    is_repeated: bool = False
    is_path: bool = False

    @property
    def key(self) -> str:
        """The key of the option in the file of a pipeline."""
        return self.name.lstrip("-").replace("_", "-")


class MistakenArgumentError(ValueError):
    """An argument that a command does not take.

    key: of the option; None where the message says which one it is.
    """

    def __init__(self, message: str, *, key: str | None) -> None:
        super().__init__(message)
        self.key = key


@runtime_checkable
class Command(Protocol):
    """A command that a pipeline calls in this process."""

    @property
    def options(self) -> Sequence[Option]:
        """The options, in the order of the command's help."""
        ...

    def check(self, arguments: Sequence[str]) -> None:
        """Reads arguments and does nothing else.

        Raises:
            MistakenArgumentError: the command does not take them.
        """
        ...

    def run(self, arguments: Sequence[str]) -> None:
        """Does the work."""
        ...


FindCommand = Callable[..., Command]
"""A function from the words of a command, such as "import" and "table", to the command.

Raises:
    KeyError: there is no such command; lists the commands.
"""
