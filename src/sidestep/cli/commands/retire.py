"""`sidestep retire`: items that are never recommended again, or are so again."""

from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.bundle_outputs import check_bundle_out
from sidestep.cli.console.next_step import recommendation_by
from sidestep.cli.console.output import print_json, say
from sidestep.cli.options import WITH_COMMAS, AsJson
from sidestep.cli.outputs import Overwrite
from sidestep.lazy_imports import imported_when_used
from sidestep.runs.inputs import load_bundle
from sidestep.runs.named_items import named_items, read_ids

with imported_when_used():
    from sidestep.bundle import appending


def retire(
    bundle: Annotated[Path, typer.Argument(help="The bundle, or the run that holds it.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    items: Annotated[
        list[str] | None,
        typer.Option("--items", help=f"IDs of the items, {WITH_COMMAS}."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A text file with an ID per line, instead.")
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Recommend these items again.")
    ] = False,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Put tombstones on items: never recommended, but known where a history holds them.

    No semantic ID and no weight changes, so it can be undone. What is out of stock only for a while
    is left out with 'sidestep recommend --available FILE' instead.

    Examples:

      sidestep retire runs/my/transformer --items B0001,B0007 --out runs/my/bundle-2

      sidestep retire runs/my/bundle-2 --file back-again.txt --restore --out runs/my/bundle-3
    """
    if (items is None) == (file is None):
        raise ValueError("give either --items ID,ID or --file FILE.")
    check_bundle_out(out, overwrite=overwrite, source=bundle)
    loaded = load_bundle(bundle, device="cpu")
    if file is not None:
        item_ids = read_ids(file, loaded.catalog)
    else:
        item_ids = named_items(items or (), loaded.catalog)
    if not item_ids:
        raise ValueError("--items names no item; write their IDs with commas.")
    change = appending.restore_items if restore else appending.retire_items
    changed = change(loaded, item_ids)
    changed.save(out)
    catalog = changed.catalog
    if json:
        print_json({"path": str(out), "items": catalog.num_items, "retired": catalog.num_retired})
        return
    say(
        f"Wrote {out}: {catalog.num_retired:,} of {catalog.num_items:,} items are retired.",
        then=recommendation_by(out, catalog),
    )
