"""`--dry-run`: a long command checks what it can, says what it would do, and writes nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console import OUT, print_json, say, table

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check inputs and options, say what would be done; do nothing."),
]


def tell_plan(
    out: Path,
    sizes: Mapping[str, int | float | str],
    *,
    json: bool,
    if_there: str = "what is there would be replaced",
) -> None:
    """Says what a command would write, after its checks.

    Args:
        out: what it would write.
        sizes: how much work that is, by name.
        json: print JSON instead.
        if_there: what would become of an older output, said only where there is one.
    """
    is_there = out.exists()
    if json:
        print_json({"dry_run": True, "path": str(out), "exists": is_there, **sizes})
        return
    rows = [[name.replace("_", " "), _in_words(size)] for name, size in sizes.items()]
    OUT.print(table("What would be done", ["", ""], rows))
    then = f" ({if_there})" if is_there else ""
    say(f"Would write {out}{then}. Nothing was written.")


def _in_words(size: int | float | str) -> str:
    if isinstance(size, str):
        return size
    return f"{size:,}" if isinstance(size, int) else f"{size:.4g}"
