"""`sidestep import`: other people's files to a dataset folder."""

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from sidestep.cli.console import OUT, print_json, say, table
from sidestep.data.dataset import Dataset
from sidestep.data.importers.lcrec import import_lcrec, lcrec_files
from sidestep.data.importers.p5 import import_p5
from sidestep.data.importers.table import import_table
from sidestep.data.interactions import Duplicates, Ties, chronological

app = typer.Typer(
    no_args_is_help=True,
    help="Import interactions and item texts into a dataset folder.",
)

Out = Annotated[Path, typer.Option("--out", help="The dataset folder to write.")]
Name = Annotated[str | None, typer.Option(help="Name for results files; default: from the file.")]
Items = Annotated[Path | None, typer.Option("--items", help="The file of item texts.")]
Core = Annotated[
    int | None,
    typer.Option("--k-core", min=1, help="Keep users and items with so many interactions."),
]
DuplicatePolicy = Annotated[
    Duplicates,
    typer.Option(help="Of a user's interactions with one item keep all, the oldest or the newest."),
]
TiePolicy = Annotated[
    Ties, typer.Option(help="Order of equal timestamps: as in the file, or by item ID.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("lcrec")
def lcrec(
    path: Annotated[Path, typer.Argument(help="A *.inter.json, or the folder that holds it.")],
    out: Out,
    items: Items = None,
    name: Name = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    json: AsJson = False,
) -> None:
    """Import LC-Rec JSON: *.inter.json with *.item.json or *.terms.json.

    Example: sidestep import lcrec data/scientific --out runs/scientific/dataset
    """
    if path.is_dir():
        path, found = lcrec_files(path)
        items = items or found
    _finish(import_lcrec(path, items, name=name), out, name, k_core, duplicates, ties, json=json)


@app.command("p5")
def p5(
    path: Annotated[Path, typer.Argument(help="sequential_data.txt, or the folder that holds it.")],
    out: Out,
    items: Items = None,
    name: Name = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    json: AsJson = False,
) -> None:
    """Import P5 text: a user and their items per line.

    Example: sidestep import p5 data/toys --out runs/toys/dataset
    """
    if path.is_dir():
        texts = path / "item_terms.json"
        items = items or (texts if texts.is_file() else None)
        path = path / "sequential_data.txt"
    _finish(import_p5(path, items, name=name), out, name, k_core, duplicates, ties, json=json)


@app.command("table")
def from_table(
    path: Annotated[Path, typer.Argument(help="CSV, TSV, Parquet or JSON lines, one row each.")],
    out: Out,
    user: Annotated[str, typer.Option(help="Column of user IDs.")] = "user_id",
    item: Annotated[str, typer.Option(help="Column of item IDs.")] = "item_id",
    time: Annotated[
        str | None, typer.Option(help="Column of times; without it the rows are in order.")
    ] = None,
    event: Annotated[str | None, typer.Option(help="Column of the kind of event.")] = None,
    value: Annotated[str | None, typer.Option(help="Column of a number such as a rating.")] = None,
    items: Items = None,
    items_id: Annotated[
        str | None, typer.Option(help="Column of item IDs in --items; default: as --item.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Text columns of --items to keep, comma-separated.")
    ] = None,
    name: Name = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    json: AsJson = False,
) -> None:
    """Import any table of interactions by the names of its columns.

    Example: sidestep import table events.csv --user user --item sku --time at --out runs/my/dataset
    """
    dataset = import_table(
        path,
        user=user,
        item=item,
        time=time,
        event=event,
        value=value,
        items_path=items,
        items_item=items_id,
        text_columns=None if columns is None else split_names(columns),
        name=name,
    )
    _finish(dataset, out, name, k_core, duplicates, ties, json=json)


def split_names(text: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _finish(
    dataset: Dataset,
    out: Path,
    name: str | None,
    k_core: int | None,
    duplicates: Duplicates,
    ties: Ties,
    *,
    json: bool,
) -> None:
    """Thins, orders and saves a dataset, and says how large it is."""
    dataset = dataset.deduplicated(duplicates)
    if k_core is not None:
        dataset = dataset.k_core(k_core)
    # The order of events is settled here, once: from now on the order of the rows says it.
    dataset = replace(
        dataset,
        interactions=chronological(dataset.interactions, ties),
        name=name or _plain_name(dataset.name),
    )
    dataset.save(out)
    stats = asdict(dataset.stats())
    if json:
        print_json({"name": dataset.name, "path": str(out), **stats})
        return
    rows = [
        [key.replace("_", " "), f"{number:,}" if isinstance(number, int) else f"{number:.4g}"]
        for key, number in stats.items()
    ]
    OUT.print(table(dataset.name, ["", ""], rows))
    say(f"Wrote {out}. Next: sidestep embed {out} --out vectors.npy")


def _plain_name(name: str) -> str:
    """A name as results files want it: lower case, without blanks."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "dataset"
