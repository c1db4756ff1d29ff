"""Import paths: objects of a user's own, named as `package.module:Name`."""

import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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


@contextmanager
def _from_here() -> Iterator[None]:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
