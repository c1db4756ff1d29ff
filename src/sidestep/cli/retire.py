"""`sidestep retire`: items that are never recommended again, or are so again."""

from pathlib import Path
from typing import Annotated

import typer

from sidestep.bundle.appending import restore_items, retire_items
from sidestep.bundle.folder import load, save_loaded
from sidestep.cli.console import print_json, say
from sidestep.cli.inputs import read_ids
from sidestep.cli.next_step import recommendation_by
from sidestep.cli.options import AsJson, split_names


def retire(
    bundle: Annotated[Path, typer.Argument(help="The bundle, or the run that holds it.")],
    out: Annotated[
        Path, typer.Option("--out", help="The bundle to write; it may be the same again.")
    ],
    items: Annotated[
        str | None, typer.Option("--items", help="IDs of the items, comma-separated.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A text file with an ID per line, instead.")
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Recommend these items again.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Put tombstones on items: never recommended, but known where a history holds them.

    No semantic ID and no weight changes, so it can be undone. What is out of stock only for a while
    is left out with 'sidestep recommend --available FILE' instead.

    Examples:

      sidestep retire runs/my/transformer --items B0001,B0007 --out runs/my/bundle-2

      sidestep retire runs/my/bundle-2 --file back-again.txt --restore --out runs/my/bundle-2
    """
    if (items is None) == (file is None):
        raise ValueError("give either --items ID,ID or --file FILE.")
    item_ids = read_ids(file) if file is not None else split_names(items or "")
    if not item_ids:
        raise ValueError("--items names no item; write their IDs with commas.")
    change = restore_items if restore else retire_items
    changed = change(load(bundle, device="cpu"), item_ids)
    save_loaded(out, changed)
    catalog = changed.catalog
    if json:
        print_json({"path": str(out), "items": catalog.num_items, "retired": catalog.num_retired})
        return
    say(
        f"Wrote {out}: {catalog.num_retired:,} of {catalog.num_items:,} items are retired.",
        then=recommendation_by(out, catalog),
    )
