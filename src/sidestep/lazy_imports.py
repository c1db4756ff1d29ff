"""Imports that are put off until something of the module is used: a command starts without them.

Such an import names a whole module, and code reaches a name in it as `module.name`. Type checkers
and the proof of the layers see a plain import.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

Around = Callable[[], AbstractContextManager[None]]
"""A function that makes the context of an import that was put off."""

_AROUND: list[Around] = [nullcontext]
"""The one element makes the context of such imports in this process."""


def import_within(around: Around) -> None:
    """Lets imports that were put off happen within `around`, from now on and in this process.

    A program sets it once: the command line leaves at once where Ctrl-C comes during an import.
    """
    _AROUND[0] = around


@contextmanager
def importing() -> Iterator[None]:
    """A block that does nothing but import."""
    with _AROUND[0]():
        yield


@contextmanager
def imported_when_used() -> Iterator[None]:
    """Puts off the imports that stand in the block: `from sidestep.package import module`.

    The block stands at the top of a file, as other imports do. A package is imported at once. A
    module that does not exist is an error at once. Annotations that name such a module need `from
    __future__ import annotations`, or they would use the module at once.
    """
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        # From here on the names are free for the modules themselves.
        for module in finder.made:
            sys.modules.pop(module.__name__, None)
            package, _, name = module.__name__.rpartition(".")
            vars(sys.modules[package]).pop(name, None)
            module.is_open = False


class _LazyModule(ModuleType):
    """Stands for a module, and imports it when something of it is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_open = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # inspection of modules, which uses none of them
            raise AttributeError(f"{self.__name__} was not imported yet and has no {name}.")
        if self.is_open:
            raise ImportError(f"import {self.__name__} as a whole, or {name} would not be put off.")
        with importing():
            module = importlib.import_module(self.__name__)
        return getattr(module, name)


class _Finder(MetaPathFinder, Loader):
    """Makes the stand-ins of one block."""

    def __init__(self) -> None:
        self.made: list[_LazyModule] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Takes modules that exist; leaves packages, and what is no module, to other finders."""
        found = PathFinder.find_spec(name, path, target)
        if found is None or found.submodule_search_locations is not None:
            return None
        return ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in."""
        made = _LazyModule(spec.name)
        self.made.append(made)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing: the module is imported when it is used."""
