"""Paths as files and pages keep them: seen from the folder of the file, or as short names."""

import os
from collections.abc import Sequence
from pathlib import Path


def kept(path: str, folder: Path) -> str:
    """The name in a file in `folder` for a path that the working directory calls `path`."""
    return Path(os.path.relpath(_place(Path(path)), _place(folder))).as_posix()


def seen(name: str, folder: Path) -> str:
    """The name in the working directory for a path that a file in `folder` calls `name`.

    The path is absolute where `folder` is.
    """
    place = os.path.normpath(_place(folder) / name)
    return place if folder.is_absolute() else os.path.relpath(place)


def names_of(paths: Sequence[Path]) -> list[str]:
    """The name of each folder, or its path where names repeat."""
    names = [path.resolve().name for path in paths]
    return [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, paths, strict=True)
    ]


def _place(path: Path) -> Path:
    """The absolute path, in which links are followed, but not the last one.

    So a dataset that is a link beside a run is found beside the run wherever the two are moved.
    """
    absolute = Path(os.path.abspath(path))
    return absolute.parent.resolve() / absolute.name
