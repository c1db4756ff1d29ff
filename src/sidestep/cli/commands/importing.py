"""`sidestep import`: other people's files to a dataset folder."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sidestep.cli.console.reading_bar import reading_bar, shown_working
from sidestep.cli.event_options import (
    AskedEvents,
    Events,
    InputEvents,
    TargetEvents,
)
from sidestep.cli.options import WITH_COMMAS, AsJson, DryRun, Engine, RayAddress
from sidestep.cli.outputs import Overwrite, check_out
from sidestep.cli.written_dataset import write_dataset
from sidestep.data.dataset import Dataset
from sidestep.data.importers.amazon import Year, import_amazon
from sidestep.data.importers.imported import thinned
from sidestep.data.importers.lists import ListRows, import_lists
from sidestep.data.importers.log import Thinning
from sidestep.data.importers.rows import Part, import_rows
from sidestep.data.importers.shard_rows import RowsEngine, streamed
from sidestep.data.importers.table import import_table
from sidestep.data.importers.table_rows import MISSING_ID, Gaps, Missing
from sidestep.data.interactions import Duplicates, Ties
from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.data.importers import guessing, ray_rows
    from sidestep.data.importers import lcrec as of_lcrec
    from sidestep.data.importers import minionerec as of_minionerec
    from sidestep.data.importers import movielens as of_movielens
    from sidestep.data.importers import p5 as of_p5
    from sidestep.data.importers import recbole as of_recbole
from sidestep.data.names import split_names

app = typer.Typer(
    no_args_is_help=True,
    help="Import interactions and item texts into a dataset folder.",
)

Out = Annotated[Path, typer.Option("--out", help="The dataset folder to write.")]
Name = Annotated[str | None, typer.Option(help="Name for results files; default: from the file.")]
Items = Annotated[Path | None, typer.Option("--items", help="The file of item texts.")]
ItemsId = Annotated[str, typer.Option("--items-id", help="Column of item IDs in --items.")]
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
MinValue = Annotated[
    float | None,
    typer.Option("--min-value", help="Drop interactions with a smaller value, such as a rating."),
]


@app.command("lcrec")
def lcrec(
    path: Annotated[Path, typer.Argument(help="A *.inter.json, or the folder that holds it.")],
    out: Out,
    items: Items = None,
    name: Name = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import LC-Rec JSON: *.inter.json with *.item.json or *.terms.json.

    Example: sidestep import lcrec data/scientific --out runs/scientific/dataset
    """
    _check_out(out, path, items, overwrite=overwrite)
    if path.is_dir():
        path, found = of_lcrec.lcrec_files(path)
        items = items or found
    dataset = shown_working(of_lcrec.import_lcrec)(path, items, name=name)
    done = thinned(dataset, Thinning(duplicates=duplicates, k_core=k_core, ties=ties))
    write_dataset(done, out, name, dry_run=dry_run, json=json)


@app.command("p5")
def p5(
    path: Annotated[Path, typer.Argument(help="sequential_data.txt, or the folder that holds it.")],
    out: Out,
    items: Items = None,
    name: Name = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import P5 text: a user and their items per line.

    Example: sidestep import p5 data/toys --out runs/toys/dataset
    """
    _check_out(out, path, items, overwrite=overwrite)
    if path.is_dir():
        texts = path / "item_terms.json"
        items = items or (texts if texts.is_file() else None)
        path = path / "sequential_data.txt"
    dataset = shown_working(of_p5.import_p5)(path, items, name=name)
    done = thinned(dataset, Thinning(duplicates=duplicates, k_core=k_core, ties=ties))
    write_dataset(done, out, name, dry_run=dry_run, json=json)


@app.command("minionerec")
def minionerec(
    folder: Annotated[Path, typer.Argument(help="The folder that holds train, valid and test.")],
    out: Out,
    category: Annotated[
        str | None, typer.Option(help="Beginning of the files' names, where there are several.")
    ] = None,
    name: Name = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import MiniOneRec's CSVs: rows of a history and its target, with the split they make.

    Example: sidestep import minionerec data/Amazon --category Office --out runs/office/dataset
    """
    _check_out(out, folder, overwrite=overwrite)
    done = shown_working(of_minionerec.import_minionerec)(
        of_minionerec.minionerec_files(folder, category)
    )
    write_dataset(done, out, name, dry_run=dry_run, json=json)


@app.command("rows")
def rows(
    out: Out,
    train: Annotated[
        Path | None, typer.Option("--train", help="Rows to learn from: CSV, Parquet, JSON lines.")
    ] = None,
    valid: Annotated[Path | None, typer.Option("--valid", help="Rows to choose by.")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Rows to judge by.")] = None,
    user: Annotated[str, typer.Option(help="Column of user IDs.")] = "user_id",
    history: Annotated[str, typer.Option(help="Column of lists of past items.")] = "history",
    target: Annotated[
        str, typer.Option(help="Column of the item that followed, or of a list.")
    ] = "target",
    items: Items = None,
    items_id: ItemsId = "item_id",
    name: Name = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import a published split: rows of a history and its target, in a file per part.

    Where --valid or --test is missing, each user's last training rows are taken for it. Without
    --train the dataset serves to evaluate a run that was trained elsewhere.

    Example: sidestep import rows --train train.csv --test test.csv --history past --target next
    --items items.json --out runs/published/dataset
    """
    given: dict[Part, Path | None] = {"train": train, "valid": valid, "test": test}
    paths = {part: path for part, path in given.items() if path is not None}
    if not paths:
        raise ValueError("name at least one file of rows, with --train, --valid or --test.")
    _check_out(out, *paths.values(), items, overwrite=overwrite)
    done = shown_working(import_rows)(
        paths,
        user=user,
        history=history,
        target=target,
        items_path=items,
        items_item=items_id,
        name=name,
    )
    write_dataset(done, out, name, dry_run=dry_run, json=json)


@app.command("table")
def from_table(
    path: Annotated[Path, typer.Argument(help="CSV, TSV, Parquet or JSON lines, one row each.")],
    out: Out,
    user: Annotated[str, typer.Option(help="Column of user IDs.")] = "user_id",
    item: Annotated[str, typer.Option(help="Column of item IDs.")] = "item_id",
    time: Annotated[
        str | None, typer.Option(help="Column of times; without it the rows are in order.")
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="Column of the type of event, such as view or purchase.")
    ] = None,
    value: Annotated[str | None, typer.Option(help="Column of a number such as a rating.")] = None,
    items: Items = None,
    items_id: Annotated[
        str | None, typer.Option(help="Column of item IDs in --items; default: as --item.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help=f"Text columns of --items to keep, {WITH_COMMAS}.")
    ] = None,
    users: Annotated[
        Path | None, typer.Option("--users", help="A table of users, with columns about them.")
    ] = None,
    users_id: Annotated[
        str | None, typer.Option(help="Column of user IDs in --users; default: as --user.")
    ] = None,
    missing_users: Annotated[
        Missing,
        typer.Option(
            help="Rows without a user: refuse the file, drop the rows, or keep them, each as a "
            "user of its own."
        ),
    ] = "refuse",
    missing_items: Annotated[
        Missing,
        typer.Option(
            help="Rows without an item: refuse the file, drop the rows, or keep them, all as one "
            f"item called {MISSING_ID!r}."
        ),
    ] = "refuse",
    missing_times: Annotated[
        Literal["refuse", "drop"],
        typer.Option(
            help="Rows without a time: refuse the file, or drop the rows, and with them those "
            "whose time is 0 or -1 among times of today."
        ),
    ] = "refuse",
    missing_words: Annotated[
        str,
        typer.Option(
            help="Texts that stand for a missing user or item, comma-separated, such as NA,-1."
        ),
    ] = "",
    events: Events = None,
    target_events: TargetEvents = None,
    input_events: InputEvents = None,
    name: Name = None,
    min_value: MinValue = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    engine: Annotated[
        Engine,
        typer.Option(
            help="What finds the k-core of Parquet files: this process, or tasks of Ray, each of "
            "which reads a file."
        ),
    ] = "local",
    ray_address: RayAddress = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import any table of interactions by the names of its columns.

    A table is a CSV, TSV, Parquet or JSON file, of which the texts may be gzipped, or a folder of
    its parts, or a pattern of their names in quotes. --min-value compares the column --value,
    --events and the weights of events the column --event.

    Examples:

      sidestep import table events.csv --user user --item sku --time at --out runs/my/dataset

      sidestep import table log.csv.gz --missing-words NA --missing-users drop --out runs/my/dataset
      sidestep import table log.csv --event action --events purchase --out runs/my/dataset

      sidestep import table 'log/*.parquet' --time at --k-core 5 --engine ray --out runs/my/dataset

      sidestep import table log.csv --event action --target-events purchase=1,cart=0.3
      --input-events purchase,cart,view=0.2 --out runs/my/dataset
    """
    asked = AskedEvents.of_options(event, events, target_events, input_events)
    _check_out(out, path, items, users, overwrite=overwrite)
    if min_value is not None and value is None:
        raise ValueError("--min-value needs --value, the column that it compares.")
    shard_engine = _shard_engine(engine, ray_address, k_core)
    thinning = Thinning(min_value=min_value, duplicates=duplicates, k_core=k_core, ties=ties)
    read = shown_working(import_table)(
        path,
        user=user,
        item=item,
        time=time,
        event=event,
        value=value,
        items_path=items,
        items_item=items_id,
        text_columns=None if columns is None else split_names(columns),
        users_path=users,
        users_user=users_id,
        gaps=Gaps(
            users=missing_users,
            items=missing_items,
            times=missing_times,
            words=split_names(missing_words),
        ),
        thinning=asked.kept(thinning),
        name=name,
        engine=shard_engine,
    )
    done = asked.weighted(read)
    if event is None:
        done = guessing.with_doubt_about_events(done, path, taken=[user, item, time, value])
    write_dataset(done, out, name, dry_run=dry_run, json=json)


@app.command("amazon")
def amazon(
    path: Annotated[Path, typer.Argument(help="Reviews: one JSON object per line, or gzipped.")],
    out: Out,
    meta: Annotated[
        Path | None, typer.Option("--meta", help="Metadata: titles, brands, categories.")
    ] = None,
    year: Annotated[Year, typer.Option(help="Whose form the files have.")] = "auto",
    name: Name = None,
    min_value: MinValue = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import Amazon review dumps of 2014, 2018 or 2023, larger than memory.

    Their times are whole days before 2023, so that ties are common: --ties decides them.

    Example: sidestep import amazon Toys.json.gz --meta meta_Toys.json.gz --k-core 5 --out toys

    Example: sidestep import amazon All_Beauty.jsonl.gz --min-value 4 --out runs/beauty/dataset
    """
    _check_out(out, path, meta, overwrite=overwrite)
    thinning = Thinning(min_value=min_value, duplicates=duplicates, k_core=k_core, ties=ties)
    with reading_bar() as on_progress:
        done = import_amazon(
            path, meta, year=year, thinning=thinning, name=name, on_progress=on_progress
        )
    write_dataset(done, out, name, dry_run=dry_run, json=json)


@app.command("recbole")
def recbole(
    path: Annotated[Path, typer.Argument(help="A *.inter, or the folder that holds it.")],
    out: Out,
    user: Annotated[str, typer.Option(help="Field of users, without its type.")] = "user_id",
    item: Annotated[str, typer.Option(help="Field of items, in both files.")] = "item_id",
    time: Annotated[str, typer.Option(help="Field of times, if there is one.")] = "timestamp",
    value: Annotated[str, typer.Option(help="Field of a number, if there is one.")] = "rating",
    event: Annotated[
        str | None, typer.Option(help="Field of the type of event, such as view or purchase.")
    ] = None,
    events: Events = None,
    target_events: TargetEvents = None,
    input_events: InputEvents = None,
    name: Name = None,
    min_value: MinValue = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import RecBole's atomic files: *.inter, and the *.item beside it.

    Examples:

      sidestep import recbole dataset/ml-100k --min-value 4 --out runs/ml-100k/dataset

      sidestep import recbole dataset/tmall --event action --events purchase --out runs/tmall
    """
    asked = AskedEvents.of_options(event, events, target_events, input_events)
    _check_out(out, path, overwrite=overwrite)
    thinning = Thinning(min_value=min_value, duplicates=duplicates, k_core=k_core, ties=ties)
    with reading_bar() as on_progress:
        done = of_recbole.import_recbole(
            path,
            user=user,
            item=item,
            time=time,
            value=value,
            event=event,
            thinning=asked.kept(thinning),
            name=name,
            on_progress=on_progress,
        )
    write_dataset(asked.weighted(done), out, name, dry_run=dry_run, json=json)


@app.command("movielens")
def movielens(
    path: Annotated[Path, typer.Argument(help="The unpacked folder of any release.")],
    out: Out,
    name: Name = None,
    min_value: MinValue = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import MovieLens: u.data, ratings.dat or ratings.csv, with titles and genres.

    Example: sidestep import movielens ml-1m --min-value 4 --k-core 5 --out runs/ml-1m/dataset
    """
    _check_out(out, path, overwrite=overwrite)
    thinning = Thinning(min_value=min_value, duplicates=duplicates, k_core=k_core, ties=ties)
    with reading_bar() as on_progress:
        done = of_movielens.import_movielens(
            path, thinning=thinning, name=name, on_progress=on_progress
        )
    write_dataset(done, out, name, dry_run=dry_run, json=json)


@app.command("lists")
def lists(
    path: Annotated[Path, typer.Argument(help="CSV, TSV, Parquet or JSON lines, a list a row.")],
    out: Out,
    user: Annotated[str, typer.Option(help="Column of user IDs.")] = "user_id",
    items_column: Annotated[str, typer.Option(help="Column of lists of items.")] = "item_ids",
    time: Annotated[
        str | None, typer.Option(help="Column of times, of whole rows or lists of them.")
    ] = None,
    rows: Annotated[
        ListRows | None,
        typer.Option(
            help="Whether each list is a session of its user, or a window on one sequence, such as "
            "all items so far. [default: sessions, told where they look like windows]"
        ),
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="Column of types of events, of whole rows or lists of them.")
    ] = None,
    events: Events = None,
    target_events: TargetEvents = None,
    input_events: InputEvents = None,
    items: Items = None,
    items_id: ItemsId = "item_id",
    name: Name = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import a table with a list of items in a cell, oldest first: a row per user or session.

    Example: sidestep import lists sessions.csv --user visitor --items-column skus --time start
    --out runs/my/dataset
    """
    asked = AskedEvents.of_options(event, events, target_events, input_events)
    _check_out(out, path, items, overwrite=overwrite)
    done = shown_working(import_lists)(
        path,
        user=user,
        items_column=items_column,
        time=time,
        event=event,
        rows=rows,
        items_path=items,
        items_item=items_id,
        thinning=asked.kept(Thinning(duplicates=duplicates, k_core=k_core, ties=ties)),
        name=name,
    )
    write_dataset(asked.weighted(done), out, name, dry_run=dry_run, json=json)


def _check_out(out: Path, *read: Path | None, overwrite: bool) -> None:
    """Refuses, before anything is read, an `--out` where something stands."""
    check_out(out, overwrite=overwrite, read=read, is_kind=Dataset.check_place)


def _shard_engine(engine: Engine, ray_address: str | None, k_core: int | None) -> RowsEngine:
    if engine == "local":
        if ray_address is not None:
            raise ValueError("--ray-address needs --engine ray.")
        return streamed
    if k_core is None:
        raise ValueError(
            "--engine ray needs --k-core: without it, all rows stay, and this process holds them."
        )
    return ray_rows.ByRay(address=ray_address)
