"""Tables of interactions: imports CSV, TSV, Parquet or JSON by the names of their columns."""

from collections.abc import Sequence
from pathlib import Path

from sidestep.data.dataset import Dataset
from sidestep.data.importers.columns import read_table
from sidestep.data.importers.imported import Imported, thinned
from sidestep.data.importers.item_texts import are_item_texts, read_item_texts
from sidestep.data.importers.log import Thinning
from sidestep.data.importers.shard_rows import RowsEngine, streamed
from sidestep.data.importers.sources import folder_of, listed, sha256_of
from sidestep.data.importers.table_rows import Columns, Gaps, items_of, read_rows, users_of
from sidestep.data.items import ItemTable
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note

with imported_when_used():
    from sidestep.data.importers import shards


def import_table(
    path: Path,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = None,
    event: str | None = None,
    value: str | None = None,
    items_path: Path | None = None,
    items_item: str | None = None,
    text_columns: Sequence[str] | None = None,
    users_path: Path | None = None,
    users_user: str | None = None,
    gaps: Gaps = Gaps(),  # noqa: B008 - frozen
    thinning: Thinning | None = None,
    name: str | None = None,
    engine: RowsEngine = streamed,
) -> Imported:
    """Imports interactions, one per row, and tables of items and of users if there are any.

    A k-core of Parquet files is read piece by piece, see `read_core`. The dataset is the one
    that whole tables give.

    Args:
        path: the interactions, see `read_table`.
        user: the column of user IDs, text or whole numbers.
        item: the column of item IDs.
        time: the column of times: numbers of any unit, or dates. Without times, the rows must be in
            the order of events.
        event: the column of the type of event, such as "purchase".
        value: the column of a number, such as a rating.
        items_path: one row per item; None takes the items of the interactions, without texts.
        items_item: the column of item IDs in `items_path`; None takes the same name as `item`.
        text_columns: the columns of `items_path` to keep; None keeps all.
        users_path: one row per user, with columns that describe the users; None if the users are
            not described.
        users_user: the column of user IDs in `users_path`; None takes the same name as `user`.
        gaps: treatment of rows in which an ID or a time is missing.
        thinning: which interactions are kept, see `thinned`; None keeps all, in their order.
        name: name of the dataset; None takes that of the file.
        engine: reads the k-core of Parquet files, see `read_core`. The dataset is the same,
            whatever the engine.

    Raises:
        ValueError: if a file is invalid; the message names the file and, if there is one, the line.
        ConnectionError: the engine works in other processes, which have ended.
    """
    columns = Columns(user=user, item=item, time=time, event=event, value=value)
    items, core, table = None, None, None
    if thinning is None or thinning.k_core is None:
        table = read_table(path, columns.all)
    if items_path is not None:
        items = read_items(items_path, items_item or item, text_columns)
    if table is None and thinning is not None:
        core = shards.read_core(path, columns, items, gaps, thinning, engine)
    if core is not None and thinning is not None:
        table, items, thinning = core.table, core.items, shards.not_yet_done(thinning)
    elif table is None:
        if engine is not streamed:
            note(f"{path} has no k-core that can be found file by file; this process reads it all.")
        table = read_table(path, columns.all)
    rows = read_rows(table, columns, items, items_name=str(items_path), gaps=gaps)
    left_out = rows.left_out if core is None else core.left_out
    dataset = Dataset(
        interactions=rows.interactions,
        items=rows.items,
        name=name or _name_of(path),
        sources=sha256_of(path, items_path, users_path),
        users=None if users_path is None else users_of(read_table(users_path), users_user or user),
    )
    done = Imported(dataset=dataset, left_out=left_out, remarks=rows.remarks)
    return done if thinning is None else thinned(done, thinning)


def read_items(path: Path, item: str, text_columns: Sequence[str] | None = None) -> ItemTable:
    """Reads a table of items, or a file that `read_item_texts` reads.

    Args:
        path: one row per item, see `read_table`; or a JSON object with one entry per item.
        item: the column of item IDs; in an object the keys are the IDs.
        text_columns: the columns to keep; None keeps all.

    Raises:
        ValueError: if the file is invalid; the message names the line if there is one.
    """
    if are_item_texts(path):
        return _json_items(path, text_columns)
    columns = None if text_columns is None else [item, *text_columns]
    return items_of(read_table(path, columns), item)


def _json_items(path: Path, text_columns: Sequence[str] | None) -> ItemTable:
    items = read_item_texts(path)
    if text_columns is None:
        return items
    for name in text_columns:
        if name not in items.text_columns:
            raise ValueError(
                f"{path}: no entry has the field {name!r:.60}; there are "
                f"{listed(items.text_columns)}."
            )
    return ItemTable(items.frame.select("item_id", *text_columns))


def _name_of(path: Path) -> str:
    """Name of the file or folder without its suffixes, for pipelines and results."""
    name = (folder_of(path) or path).name.removesuffix(".gz")
    return name.rpartition(".")[0] or name
