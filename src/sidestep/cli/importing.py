"""`sidestep import`: other people's files to a dataset folder."""

import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Literal, ParamSpec, TypeVar

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from sidestep.cli.console import ERR, OUT, print_json, say, table, warn
from sidestep.cli.dry_run import DryRun, tell_plan, would_write
from sidestep.cli.judged_rows import check_judged, warn_of_no_rows
from sidestep.cli.next_step import embedding_of
from sidestep.cli.options import WITH_COMMAS, AsJson, plain_name, split_names
from sidestep.cli.outputs import Overwrite, check_out
from sidestep.cli.working import working
from sidestep.data.dataset import Dataset
from sidestep.data.importers.amazon import Year, import_amazon
from sidestep.data.importers.imported import Imported, thinned
from sidestep.data.importers.lcrec import import_lcrec, lcrec_files
from sidestep.data.importers.lines import OnProgress, Reading
from sidestep.data.importers.lists import ListRows, import_lists
from sidestep.data.importers.log import Thinning
from sidestep.data.importers.minionerec import import_minionerec, minionerec_files
from sidestep.data.importers.movielens import import_movielens
from sidestep.data.importers.p5 import import_p5
from sidestep.data.importers.recbole import import_recbole
from sidestep.data.importers.rows import Part, import_rows
from sidestep.data.importers.table import MISSING_ID, Gaps, Missing, import_table
from sidestep.data.interactions import Duplicates, Ties

_P = ParamSpec("_P")
_R = TypeVar("_R")

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
        path, found = lcrec_files(path)
        items = items or found
    dataset = _shown(import_lcrec)(path, items, name=name)
    done = thinned(dataset, Thinning(duplicates=duplicates, k_core=k_core, ties=ties))
    _write(done, out, name, dry_run=dry_run, json=json)


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
    dataset = _shown(import_p5)(path, items, name=name)
    done = thinned(dataset, Thinning(duplicates=duplicates, k_core=k_core, ties=ties))
    _write(done, out, name, dry_run=dry_run, json=json)


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
    done = _shown(import_minionerec)(minionerec_files(folder, category))
    _write(done, out, name, dry_run=dry_run, json=json)


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
    target: Annotated[str, typer.Option(help="Column of the item that followed.")] = "target",
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
    done = _shown(import_rows)(
        paths,
        user=user,
        history=history,
        target=target,
        items_path=items,
        items_item=items_id,
        name=name,
    )
    _write(done, out, name, dry_run=dry_run, json=json)


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
        list[str] | None, typer.Option(help=f"Text columns of --items to keep, {WITH_COMMAS}.")
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
    name: Name = None,
    min_value: MinValue = None,
    k_core: Core = None,
    duplicates: DuplicatePolicy = "keep",
    ties: TiePolicy = "file",
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Import any table of interactions by the names of its columns.

    A table is a CSV, TSV, Parquet or JSON file, of which the texts may be gzipped, or a folder of
    its parts. --min-value compares the column --value.

    Examples:

      sidestep import table events.csv --user user --item sku --time at --out runs/my/dataset

      sidestep import table log.csv.gz --missing-words NA --missing-users drop --out runs/my/dataset
    """
    _check_out(out, path, items, overwrite=overwrite)
    if min_value is not None and value is None:
        raise ValueError("--min-value needs --value, the column that it compares.")
    read = _shown(import_table)(
        path,
        user=user,
        item=item,
        time=time,
        event=event,
        value=value,
        items_path=items,
        items_item=items_id,
        text_columns=None if columns is None else split_names(columns),
        gaps=Gaps(
            users=missing_users,
            items=missing_items,
            times=missing_times,
            words=split_names(missing_words),
        ),
        name=name,
    )
    thinning = Thinning(min_value=min_value, duplicates=duplicates, k_core=k_core, ties=ties)
    _write(thinned(read, thinning), out, name, dry_run=dry_run, json=json)


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
    with _reading_bar() as on_progress:
        done = import_amazon(
            path, meta, year=year, thinning=thinning, name=name, on_progress=on_progress
        )
    _write(done, out, name, dry_run=dry_run, json=json)


@app.command("recbole")
def recbole(
    path: Annotated[Path, typer.Argument(help="A *.inter, or the folder that holds it.")],
    out: Out,
    user: Annotated[str, typer.Option(help="Field of users, without its type.")] = "user_id",
    item: Annotated[str, typer.Option(help="Field of items, in both files.")] = "item_id",
    time: Annotated[str, typer.Option(help="Field of times, if there is one.")] = "timestamp",
    value: Annotated[str, typer.Option(help="Field of a number, if there is one.")] = "rating",
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

    Example: sidestep import recbole dataset/ml-100k --min-value 4 --out runs/ml-100k/dataset
    """
    _check_out(out, path, overwrite=overwrite)
    with _reading_bar() as on_progress:
        done = import_recbole(
            path,
            user=user,
            item=item,
            time=time,
            value=value,
            thinning=Thinning(min_value=min_value, duplicates=duplicates, k_core=k_core, ties=ties),
            name=name,
            on_progress=on_progress,
        )
    _write(done, out, name, dry_run=dry_run, json=json)


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
    with _reading_bar() as on_progress:
        done = import_movielens(path, thinning=thinning, name=name, on_progress=on_progress)
    _write(done, out, name, dry_run=dry_run, json=json)


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
    _check_out(out, path, items, overwrite=overwrite)
    done = _shown(import_lists)(
        path,
        user=user,
        items_column=items_column,
        time=time,
        rows=rows,
        items_path=items,
        items_item=items_id,
        thinning=Thinning(duplicates=duplicates, k_core=k_core, ties=ties),
        name=name,
    )
    _write(done, out, name, dry_run=dry_run, json=json)


def _check_out(out: Path, *read: Path | None, overwrite: bool) -> None:
    """Refuses, before anything is read, an `--out` where something stands."""
    check_out(out, overwrite=overwrite, read=read, is_kind=Dataset.check_place)


@contextmanager
def _reading_bar() -> Iterator[OnProgress]:
    """A bar of the bytes read of each file, and its lines per second."""
    if not ERR.is_terminal:
        with working("reading") as tell:
            yield lambda reading: tell(reading.path.name, reading.bytes_read, reading.bytes_total)
        return
    bar = ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rate]} lines/s"),
        TimeRemainingColumn(),
        console=ERR,
        transient=True,
    )
    tasks = {}
    started = {}
    with bar:

        def report(reading: Reading) -> None:
            path = reading.path
            if path not in tasks:
                started[path] = clock.perf_counter()
                tasks[path] = bar.add_task(path.name, total=reading.bytes_total, rate="…")
            elapsed = clock.perf_counter() - started[path]
            rate = f"{reading.num_lines / elapsed:,.0f}" if elapsed > 0 else "…"
            bar.update(tasks[path], completed=reading.bytes_read, rate=rate)

        yield report


def _shown(work: Callable[_P, _R], title: str = "reading") -> Callable[_P, _R]:
    """The same work, seen to go on; it tells nothing of how far it is."""

    @wraps(work)
    def shown(*arguments: _P.args, **settings: _P.kwargs) -> _R:
        with working(title):
            return work(*arguments, **settings)

    return shown


def _write(done: Imported, out: Path, name: str | None, *, dry_run: bool, json: bool) -> None:
    """Saves a dataset, and says how large it is and what of its source is not in it.

    A dry run has read and checked all of the source too: there is no other way to know of a
    broken line in it.
    """
    dataset = replace(done.dataset, name=name or plain_name(done.dataset.name))
    stats = asdict(dataset.stats())
    check_judged(dataset, out)
    for doubt in done.doubts:
        warn(doubt)
    warn_of_no_rows(dataset, out)
    if dry_run:
        would_write(dataset)
        tell_plan(out, {"name": dataset.name, **stats, **done.left_out}, json=json)
        for remark in done.remarks:
            say(remark)
        return
    _shown(dataset.save, "writing")(out)
    if json:
        left = {
            "left_out": dict(done.left_out),
            "remarks": list(done.remarks),
            "doubts": list(done.doubts),
        }
        print_json({"name": dataset.name, "path": str(out), **stats, **left})
        return
    rows = [
        [key.replace("_", " "), f"{number:,}" if isinstance(number, int) else f"{number:.4g}"]
        for key, number in stats.items()
    ]
    OUT.print(table(dataset.name, ["", ""], rows))
    for why, number in done.left_out.items():
        say(f"Left out because they {why}: {number:,} interactions.")
    for remark in done.remarks:
        say(remark)
    say(f"Wrote {out}.", then=embedding_of(dataset, out))
