"""Tables of interactions: any CSV, TSV, Parquet or JSON lines file, by the names of its columns."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from sidestep.data.dataset import Dataset
from sidestep.data.importers.columns import Table, read_table
from sidestep.data.importers.item_texts import read_item_texts
from sidestep.data.importers.sources import listed, sha256_of
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable


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
    name: str | None = None,
) -> Dataset:
    """Imports interactions, one per row, and perhaps a table of items.

    Args:
        path: the interactions.
        user: the column of user IDs, text or whole numbers.
        item: the column of item IDs.
        time: the column of times: whole numbers of any unit, or dates. Without it the rows must
            stand in the order of events.
        event: the column that says what happened, such as "purchase".
        value: the column of a number, such as a rating.
        items_path: one row per item; without it the items are those that occur, without texts.
        items_item: the column of item IDs in `items_path`; None means the same name as `item`.
        text_columns: the columns of `items_path` to keep; None keeps all.
        name: of the dataset; None takes the file's.

    Raises:
        ValueError: if a file is not what it should be, with the file and, where there is one, the
            line.
    """
    optional = [column for column in (time, event, value) if column is not None]
    table = read_table(path, [user, item, *optional])
    item_ids = table.ids(item)
    interactions = Interactions.from_columns(
        user_ids=table.ids(user),
        item_ids=item_ids,
        timestamps=None if time is None else table.times(time),
        events=None if event is None else table.texts(event),
        values=None if value is None else table.numbers(value),
    )
    if items_path is None:
        items = ItemTable.from_ids(item_ids.unique(maintain_order=True).to_list())
    else:
        items = read_items(items_path, items_item or item, text_columns)
        _refuse_unknown(table, item_ids, items, items_path)
    return Dataset(
        interactions=interactions,
        items=items,
        name=name or path.stem,
        sources=sha256_of(path, items_path),
    )


def read_items(path: Path, item: str, text_columns: Sequence[str] | None = None) -> ItemTable:
    """Reads a table of items, or what `read_item_texts` reads if the suffix is .json.

    Args:
        path: one row per item, or a JSON object with one entry per item.
        item: the column of item IDs; in JSON the keys are the IDs.
        text_columns: the columns to keep; None keeps all.

    Raises:
        ValueError: if the file is not what it should be, with the line where there is one.
    """
    if path.suffix.lower() == ".json":
        return _json_items(path, text_columns)
    table = read_table(path, None if text_columns is None else [item, *text_columns])
    item_ids = table.ids(item)
    is_repeated = ~item_ids.is_first_distinct()
    if is_repeated.any():
        row = is_repeated.arg_max()
        assert row is not None
        first = item_ids.index_of(item_ids[row])
        assert first is not None
        raise ValueError(
            f"{table.place(row)}: item {item_ids[row]!r:.60} stands in an earlier row as well, "
            f"{table.place_of(first)}; keep one of the two."
        )
    texts = [table.texts(name) for name in table.frame.columns if name != item]
    if any(text.name == "item_id" for text in texts):
        raise ValueError(
            f"{path}: the column 'item_id' is not the one of the IDs, {item!r:.60}; "
            "rename or leave it out."
        )
    return ItemTable(pl.DataFrame([item_ids.alias("item_id"), *texts]))


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


def _refuse_unknown(table: Table, item_ids: pl.Series, items: ItemTable, items_path: Path) -> None:
    is_unknown = ~item_ids.is_in(items.item_ids)
    if is_unknown.any():
        row = is_unknown.arg_max()
        assert row is not None
        num_unknown = item_ids.filter(is_unknown).n_unique()
        raise ValueError(
            f"{table.place(row)}: item {item_ids[row]!r:.60} has no row in {items_path} "
            f"({num_unknown} such items in all); add them there, or drop their interactions."
        )
