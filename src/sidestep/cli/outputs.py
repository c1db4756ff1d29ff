"""What commands write: nothing is replaced that nobody named, and never what a command reads."""

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
