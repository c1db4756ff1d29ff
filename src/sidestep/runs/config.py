"""The configuration of a run of any kind, read from YAML and from `key=value` settings."""

import importlib
import os
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

from sidestep.import_paths import imported, is_import_path
from sidestep.runs import kinds as _kinds
from sidestep.runs.kept_paths import seen
from sidestep.runs.plain_yaml import read_yaml
from sidestep.runs.run_config import RunConfig
from sidestep.runs.settings import checked, shown, with_settings
from sidestep.training.config import RESUMABLE

_PATHS = ("backbone", "embeddings", "collaborative", "worth")
"""Keys of runs that name files and folders."""

_LISTS = ("teachers",)
"""Keys of runs that name several files or folders."""


def read_config(path: Path | None, settings: Sequence[str] = ()) -> RunConfig:
    """Reads a YAML file and lays settings over it.

    Args:
        path: of the file; None takes the settings alone. The paths that the file names are seen
            from its folder. A path where nothing is there is seen from the working directory.
        settings: "key.of.a.part=value"; the value is YAML, and a path is seen from the working
            directory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no YAML, a key is unknown, or a value is not valid; names the file
            or the setting, the key, and what to do.
    """
    if path is None:
        if not any(setting.partition("=")[0].strip() == "kind" for setting in settings):
            raise ValueError(
                "give --config FILE, or say what to train without a file: --set kind=transformer "
                f"(kinds: {', '.join(kinds())})."
            )
        return checked_run(with_settings({}, settings), "--set")
    content = with_settings(read_settings(path), settings)
    return checked_run(content, str(path), settings=settings)


def refuse_missing(run: RunConfig, path: Path | None) -> None:
    """Refuses a run whose configuration names what is not there.

    Args:
        run: from `read_config`.
        path: of the file that was read, for the message; None for settings alone.

    Raises:
        FileNotFoundError: what a key names is not there; says which key, and in which file.
    """
    for key in (*_PATHS, *_LISTS):
        named = getattr(run, key, None)
        for place in named if isinstance(named, tuple) else (named,):
            if isinstance(place, str | Path) and not _is_there(place):
                seen_from = "" if path is None else "this file or from "
                value = "PATH" if key in _PATHS else "[PATH]"
                raise FileNotFoundError(
                    f"{'--set' if path is None else path}: {key}: there is no {place}, seen from "
                    f"{seen_from}the working directory; name it in the file, or with --set "
                    f"{key}={value}."
                )


def read_settings(path: Path) -> dict[str, Any]:
    """The plain values of a YAML file for a run, with its paths as the working directory sees them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no YAML.
    """

    def found(name: str) -> str:
        place = seen(name, path.parent)
        return place if _is_there(place) else name

    return with_paths(read_yaml(path), found)


def _is_there(place: str | Path) -> bool:
    """Whether a path leads somewhere; a name that is too long for the disk leads nowhere."""
    try:
        return Path(place).exists()
    except OSError:
        return False


def with_paths(content: dict[str, Any], renamed: Callable[[str], str]) -> dict[str, Any]:
    """The settings of a run with its paths renamed.

    Args:
        content: plain values, checked or not.
        renamed: the new name of a path.
    """

    def of(value: Any) -> Any:
        return renamed(value) if isinstance(value, str) and value else value

    paths = {key: of(content[key]) for key in _PATHS if key in content}
    lists = {key: content[key] for key in _LISTS if isinstance(content.get(key), list)}
    return content | paths | {key: [of(value) for value in lists[key]] for key in lists}


def common_settings(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """The settings that a resumed run must have in common with the run before.

    Args:
        config: plain values of a configuration.
        seed: of the run.
    """
    training = {
        name: value for name, value in config.get("training", {}).items() if name not in RESUMABLE
    }
    # A path is the same from wherever it is seen.
    settings = with_paths(config, os.path.realpath)
    settings.pop("trials", None)
    return {"config": {**settings, "training": training}, "seed": seed}


def checked_run(content: dict[str, Any], source: str, *, settings: Sequence[str] = ()) -> RunConfig:
    """The configuration of a run from plain values.

    Args:
        content: the plain values.
        source: says in an error where the values come from.
        settings: the settings of `--set` that were laid over the values, see `with_settings`.

    Raises:
        ValueError: see `read_config`.
    """
    kind = content.get("kind")
    if kind is None:
        raise ValueError(
            f"{source}: there is no kind; set kind to one of {', '.join(kinds())}, or to your own "
            "by import path, such as my_package.my_module:MyRun."
        )
    if not isinstance(kind, str) or not (kind in kinds() or is_import_path(kind)):
        raise ValueError(
            f"{source}: kind must be one of {', '.join(kinds())}, or your own by import path, such "
            f"as my_package.my_module:MyRun, got {shown(kind)}."
        )
    return checked(kind_named(kind), content, source, settings=settings)


@cache
def kinds() -> tuple[str, ...]:
    """The names of all kinds of run."""
    names = [module.name for module in pkgutil.iter_modules(_kinds.__path__)]
    return tuple(name.replace("_", "-") for name in names)


def kind_named(name: str) -> type[RunConfig]:
    """The configuration of a kind, by its name or import path.

    Raises:
        ValueError: there is no such kind.
    """
    if is_import_path(name):
        found = imported(name)
        if not (isinstance(found, type) and issubclass(found, RunConfig)):
            raise ValueError(
                f"kind: {name} is no kind of run; derive the class from "
                "sidestep.runs.run_config.RunConfig."
            )
        return found
    if name not in kinds():
        raise ValueError(f"kind: there is no {name!r:.80}; there are {', '.join(kinds())}.")
    module = importlib.import_module(f"{_kinds.__name__}.{name.replace('-', '_')}")
    [kind] = [
        each
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, RunConfig)
        and get_args(each.model_fields["kind"].annotation) == (name,)
    ]
    return kind
