"""Outputs of commands: no file is replaced that was not named, or that a command reads."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from sidestep.pipelines.commands import OVERWRITE

Overwrite = Annotated[
    bool, typer.Option(OVERWRITE, help="Replace what an earlier command left at --out.")
]


def check_out(
    out: Path,
    *,
    overwrite: bool | None,
    read: Iterable[Path | None] = (),
    is_kind: Callable[[Path], None] | None = None,
) -> None:
    """Refuses, before the work, an `--out` where something stands.

    Args:
        out: the file or folder to write; it may be absent or an empty folder.
        overwrite: whether what stands there may be replaced; None where a command replaces nothing.
        read: what the command reads, which is never replaced; None is left out.
        is_kind: raises a `ValueError` where something stands that is not of the kind that the
            command writes; that is never replaced either.

    Raises:
        ValueError: something stands there; says what to do.
    """
    place = out.resolve()
    for source in (path.resolve() for path in read if path is not None):
        if place == source or place in source.parents:
            raise ValueError(
                f"{out}: --out is, or holds, what the command reads ({source}); choose another "
                "place for --out."
            )
    if is_kind is not None:
        is_kind(out)
    stands = out.is_file() or (out.is_dir() and any(out.iterdir()))
    if stands and not overwrite:
        replace = "" if overwrite is None else f", or replace what is there with {OVERWRITE}"
        raise ValueError(f"{out}: exists; choose another place for --out{replace}.")


def refuse_report_at(path: Path, *, option: str = "--report") -> None:
    """Raises a `ValueError` where no page can be written, before the work is done."""
    if path.is_dir():
        raise ValueError(f"{option} {path}: is a folder; name a file, such as {path}/report.html.")
    if path.is_file() and not _is_page(path):
        raise ValueError(
            f"{option} {path}: there is a file that is no page, and it would be lost; name another "
            f"one, such as {path.with_name('report.html')}."
        )


def _is_page(path: Path) -> bool:
    """Whether a file is a page of HTML, or as empty as a temporary file."""
    with path.open("rb") as file:
        start = file.read(200).lstrip().lower()
    return not start or start.startswith((b"<!doctype html", b"<html"))
