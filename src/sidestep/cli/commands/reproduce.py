"""`sidestep reproduce`: a table of a paper, run again and written beside the published numbers."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sidestep.cli.console.output import OUT, print_json, say, table, within_pipeline
from sidestep.cli.options import AsJson
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.cli import pipeline_commands
    from sidestep.reproduction import declarations
    from sidestep.reproduction import reproduce as reproducing

_OUT, _OUT_FAST = Path("reproduced"), Path("reproduced-fast")


def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="The table; --list names them.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The folder that holds a folder for each data set.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help=f"The folder to work in; default: {_OUT}, or {_OUT_FAST}."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A data set to do, not all; may be repeated.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="A row to do, not all, by its method or run; may be repeated."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each run; default: as in the table.")
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="A smoke run: all is small, and no number means a thing.")
    ] = False,
    other_data: Annotated[
        bool, typer.Option("--other-data", help="Take data that are not those of the table.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Name the tables, and stop.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which steps would run and why; do nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Run a table of a paper again, and write it beside the published numbers.

    Nothing is fetched: you give the folder of the data, whose content is checked. What has been
    done is not done again, so the same command continues where it was interrupted. Tables with one
    --out share the steps that they have in common.

    Examples:

      sidestep reproduce --list

      sidestep reproduce ours-main --data /path/to/research-data --only scientific

      sidestep reproduce zoo --data /path/to/research-data --only beauty --method caser --seeds 1

      sidestep reproduce promise-1 --data /path/to/research-data --fast
    """
    if listed:
        _list(json=json)
        return
    if name is None or data is None:
        raise ValueError("give a TABLE and --data FOLDER, or --list to see the tables.")
    asked = reproducing.Asked(
        table=name,
        data=data,
        out=out or (_OUT_FAST if fast else _OUT),
        only=only or (),
        methods=method or (),
        num_seeds=seeds,
        is_fast=fast,
        is_other_data=other_data,
    )
    find = pipeline_commands.find_command
    with (
        contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext(),
        within_pipeline(),
    ):
        if dry_run:
            told: dict[str, Any] = {"steps": reproducing.outlook_of(asked, find=find, tell=say)}
            say("Nothing was written.")
        else:
            done = reproducing.reproduce(asked, find=find, tell=say)
            told = {"steps": done.steps, "parts": done.parts, "page": str(done.page)}
            say(f"Wrote {done.page} and {done.results}.")
    if json:
        print_json(told)


def _list(*, json: bool) -> None:
    tables = {name: declarations.read_table(name) for name in declarations.table_names()}
    if json:
        print_json({name: each.about for name, each in tables.items()})
        return
    rows = [[name, ", ".join(each.data), each.about] for name, each in tables.items()]
    OUT.print(table("Tables", ["table", "data", "about"], rows))
