"""The plan of a dry run: what a command checked, and what it would write."""

from collections.abc import Mapping
from pathlib import Path

from sidestep.cli.console.output import OUT, print_json, say, table
from sidestep.cli.console.working import duration
from sidestep.pipelines.rehearsal import meant, would_take

ESTIMATE = "estimated_seconds"
"""Among the sizes of a plan, how long the work will take, by `estimates`."""


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
        sizes: how much work that is, by name; `ESTIMATE` is said as a time.
        json: print JSON instead.
        if_there: what would become of an older output, said only where there is one.
    """
    seconds = sizes.get(ESTIMATE)
    if isinstance(seconds, float):
        would_take(seconds)
    is_there = out.exists()
    if json:
        print_json({"dry_run": True, "path": str(out), "exists": is_there, **sizes})
        return
    rows = [
        ["estimated time", f"about {duration(float(size))}"]
        if name == ESTIMATE
        else [name.replace("_", " "), _in_words(size)]
        for name, size in sizes.items()
    ]
    OUT.print(table("What would be done", ["", ""], rows))
    then = f" ({if_there})" if is_there else ""
    say(f"Would write {meant(out)}{then}. Nothing was written.")


def _in_words(size: int | float | str) -> str:
    if isinstance(size, str):
        return size
    return f"{size:,}" if isinstance(size, int) else f"{size:.4g}"
