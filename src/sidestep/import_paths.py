"""Import paths: objects of a user's own, named as `package.module:Name`."""

import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
"""The folder of our own code."""

_own_places: set[str] = set()
"""The files of modules, and the folders of packages, that import paths have led to."""


def is_import_path(name: str) -> bool:
    """Whether a name is an import path, and not one of ours."""
    return ":" in name


def imported(path: str) -> Any:
    """The object at an import path; its package may lie in the working directory.

    Raises:
        ValueError: it cannot be imported; says why and what to do.
    """
    module, _, name = path.partition(":")
    try:
        with _from_here():
            found: Any = importlib.import_module(module)
        if place := _place_of(module.partition(".")[0]):
            _own_places.add(place)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # a user's module may do anything
        raise ValueError(
            f"{path!r:.80} cannot be imported ({type(error).__name__}: {error}); name it as "
            "package.module:Name, and install the package or call from its folder."
        ) from error
    return found


def own_name(name: str) -> str:
    """The name that tables give to a class of a user's own: `own-gru-four` for `GruFour`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    return f"own-{re.sub('[^a-z0-9]+', '-', words.lower()).strip('-')}".rstrip("-")


def is_own_file(file: str) -> bool:
    """Whether a file belongs to a module or a package that an import path has led to."""
    return any(file == place or file.startswith(place + os.sep) for place in _own_places)


def own_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The last line of a user's own code on the way to an exception.

    Code of the user's own may call other packages, such as torch. None where our code comes after
    it, so that the exception is ours.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(_OURS):
            return None
        if is_own_file(frame.filename):
            return frame
    return None


def _place_of(name: str) -> str:
    """The file of a module that was imported, or the folder of a package; else nothing."""
    module = sys.modules[name]
    folders = getattr(module, "__path__", None)
    place = next(iter(folders), "") if folders is not None else getattr(module, "__file__", None)
    return os.path.abspath(place) if place else ""


@contextmanager
def _from_here() -> Iterator[None]:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
