"""`sidestep new`: a commented pipeline for a user's tables, after a look at them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console.output import OUT, print_json, say, table, warn
from sidestep.cli.options import AsJson
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import command

with imported_when_used():
    from sidestep.cli import pipeline_commands
    from sidestep.data.importers import guessing
    from sidestep.pipelines import building
    from sidestep.pipelines import contents as looks
    from sidestep.pipelines import draft as drafts
    from sidestep.runs import judged_rows


def new(
    folder: Annotated[Path, typer.Argument(help="The folder to work in; made if it is missing.")],
    interactions: Annotated[
        Path | None,
        typer.Option(
            help="CSV, TSV, Parquet or JSON, an interaction per row; or a folder of its parts."
        ),
    ] = None,
    items: Annotated[Path | None, typer.Option(help="The same of items, with their texts.")] = None,
    user: Annotated[str | None, typer.Option(help="Column of users; default: guessed.")] = None,
    item: Annotated[str | None, typer.Option(help="Column of items; default: guessed.")] = None,
    time: Annotated[
        str | None,
        typer.Option(
            help="Column of times, or 'none' to take the rows in their order; default: guessed."
        ),
    ] = None,
    items_id: Annotated[
        str | None, typer.Option(help="Column of item IDs in --items; default: guessed.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at the tables and write nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Write a commented pipeline for your tables, which 'sidestep run' then runs.

    Examples:

      sidestep new shop --interactions events.csv --items products.csv

      sidestep new shop --interactions clicks.parquet --user visitor --item sku --time at
    """
    draft = drafts.draft_pipeline(
        folder,
        interactions,
        items,
        user=user,
        item=item,
        time=time,
        items_id=items_id,
        find=pipeline_commands.find_command,
    )
    if not dry_run:
        draft.write()
    columns, contents = draft.columns, draft.contents
    if json:
        print_json(
            {
                "path": str(draft.file),
                "columns": None if columns is None else asdict(columns),
                "found": None if contents is None else contents.as_json(),
                "written": not dry_run,
            }
        )
        return
    if columns is not None and contents is not None:
        _tell(columns, contents, folder)
    if dry_run:
        say("Nothing was written.")
        return
    run = command("run", folder)
    if columns is None:
        say(f"Wrote {draft.file}. Write the names of your tables and columns into it, then: {run}")
    else:
        say(f"Wrote {draft.file}. If a column is wrong, correct it there.", then=run)


def _tell(columns: guessing.Columns, contents: looks.TableContents, folder: Path) -> None:
    """Shows the columns and what they hold, and warns of what is odd about them."""
    OUT.print(table("Columns", ["what", "column", "why"], _rows(columns)))
    OUT.print(table("What they hold", ["", ""], contents.rows()))
    for remark in contents.remarks:
        say(remark)
    if columns.time.column is None and columns.time.why != guessing.AS_SAID:
        warn(
            f"no column is taken for the times ({columns.time.why}), so the rows must stand in the "
            "order of events; name the column with --time, or say --time none."
        )
    if contents.words:
        said = ", ".join(
            f"{word!r:.60} in {number:,} rows" for word, number in contents.words.items()
        )
        others = "".join(
            f" With --user {name} every {name} would be a user instead."
            for name in columns.other_users[:1]
        )
        warn(
            f'some IDs read like words for "not known": {said}. These rows are left out, by '
            f"missing-words under import in the file.{others}"
        )
    for doubt in contents.doubts:
        warn(doubt)
    if contents.has_repeats:
        say(
            "People come back to items here, so the pipeline also has the run 'repeats' (a user's "
            "own most frequent items, then popular ones), which networks have to beat, and lists "
            "may hold seen items."
        )
    if contents.needs_split:
        warn(
            "no user has three interactions or more, so nobody's last two can be held out; the "
            "file splits by time instead, under split."
        )
    else:
        judged_rows.warn_of_no_rows(contents.dataset, folder / building.DATASET)


def _rows(columns: guessing.Columns) -> list[list[str]]:
    guesses = {"user": columns.user, "item": columns.item, "time": columns.time}
    if columns.event.column is not None:
        guesses["event type"] = columns.event
    rows = [[what, guess.column or "none", guess.why] for what, guess in guesses.items()]
    if columns.items_id is not None:
        rows.append(["item, in the items", columns.items_id.column or "", columns.items_id.why])
        rows.append(["texts", ", ".join(columns.texts) or "none", "neither numbers nor addresses"])
    return rows
