"""MiniOneRec: train, valid and test CSVs. A row is a history, as a Python list, and a target.

The import keeps MiniOneRec's split unchanged. It does not read MiniOneRec's semantic IDs: the
tokenizer reads published semantic IDs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sidestep.data.importers.columns import read_table
from sidestep.data.importers.imported import Imported
from sidestep.data.importers.item_texts import in_catalog_order, read_item_texts
from sidestep.data.importers.list_texts import ListError, read_bracketed
from sidestep.data.importers.rows import PARTS, Part, RowFile, dataset_of_rows, read_rows
from sidestep.data.importers.sources import read_text
from sidestep.data.items import ItemTable

_CATEGORY_END = "_5_"


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniOneRecFiles:
    """The files of one category.

    parts: files of the rows, by part.
    items: `*.item.json`, or the `info` text with titles; None if there is neither.
    """

    category: str
    parts: Mapping[Part, Path]
    items: Path | None


def minionerec_files(folder: Path, category: str | None = None) -> MiniOneRecFiles:
    """Finds the files in a folder: train/*.csv, valid/*.csv and test/*.csv, or train.csv etc.

    Item texts are in index/*.item.json or, if there is none, in info/*.txt. The name of the file
    must begin with the category.

    Args:
        folder: folder of MiniOneRec, for example data/Amazon.
        category: start of the names of the files; needed if there are several categories.

    Raises:
        ValueError: a part is missing, or there are several files of one part.
    """
    parts = {part: _part(folder, part, category) for part in PARTS}
    stems = {path.stem for path in parts.values()}
    # In Industrial_and_Scientific_5_2016-10-2018-11, filters and dates follow the category.
    found = category or (
        stems.pop().partition(_CATEGORY_END)[0] if len(stems) == 1 else folder.name
    )
    texts = [
        *sorted(folder.glob("index/*.item.json")),
        *sorted(folder.glob("*.item.json")),
        *sorted(folder.glob("info/*.txt")),
    ]
    fitting = [path for path in texts if path.name.startswith(found)] or texts[:1]
    return MiniOneRecFiles(category=found, parts=parts, items=fitting[0] if fitting else None)


def import_minionerec(files: MiniOneRecFiles, *, name: str | None = None) -> Imported:
    """Imports the rows as the split of a dataset, see `dataset_of_rows`.

    Items are those of the item file and of the rows. Without an item file, titles are read from the
    rows.

    Args:
        files: result of `minionerec_files`.
        name: name of the dataset; None takes the category.

    Raises:
        ValueError: if a file is invalid; the message names the file and the line.
    """
    read = {
        part: read_rows(
            read_table(path), user="user_id", history="history_item_id", target="item_id"
        )
        for part, path in files.parts.items()
    }
    items = _titled(list(read.values())) if files.items is None else _item_file(files.items)
    return dataset_of_rows(read, items, items_path=files.items, name=name or files.category)


def _part(folder: Path, part: str, category: str | None) -> Path:
    alone = folder / f"{part}.csv"
    if alone.is_file():
        return alone
    found = sorted((folder / part).glob(f"{category or ''}*.csv"))
    if not found:
        raise ValueError(
            f"{folder}: there is no {part}.csv and no {part}/{category or ''}*.csv in it; name "
            "the folder that holds train, valid and test."
        )
    if len(found) > 1:
        known = ", ".join(path.stem.partition(_CATEGORY_END)[0] for path in found)
        raise ValueError(f"{folder / part}: there are several categories, {known}; name one.")
    return found[0]


def _titled(files: Sequence[RowFile]) -> ItemTable:
    """The items of all rows, with the titles in the rows."""
    titles: dict[str, str | None] = {}
    for file in files:
        for row in file.rows:
            titles.update(dict.fromkeys((row.target, *row.history)))
    for file in files:
        for row, title in zip(file.rows, _texts(file, "item_title"), strict=True):
            titles[row.target] = titles[row.target] or title
    for file in files:
        # Every item but a user's first one was a target, so few cells of histories must be read.
        for row, cell in zip(file.rows, _texts(file, "history_item_title"), strict=True):
            if cell is not None and any(titles[item] is None for item in row.history):
                for item, title in zip(row.history, _names(cell, len(row.history)), strict=True):
                    titles[item] = titles[item] or title
    return _table(titles)


def _names(cell: str, num_items: int) -> Sequence[str | None]:
    """The titles in a cell. All are unknown if their number differs from that of the items."""
    try:
        names = [element.text or None for element in read_bracketed(cell).elements]
    except ListError:
        names = []
    return names if len(names) == num_items else [None] * num_items


def _texts(file: RowFile, name: str) -> Sequence[str | None]:
    """A column of texts; all null if there is no such column."""
    if name not in file.table.frame.columns:
        return [None] * len(file.rows)
    return file.table.texts(name).to_list()


def _item_file(path: Path) -> ItemTable:
    return read_item_texts(path) if path.suffix == ".json" else _info(path)


def _info(path: Path) -> ItemTable:
    """Reads lines of a semantic ID, a title and an item ID, with tabs between them."""
    titles: dict[str, str | None] = {}
    line_of: dict[str, int] = {}
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        _, tab, rest = text.rstrip("\r").partition("\t")
        title, second_tab, item_id = rest.rpartition("\t")
        if not (tab and second_tab and item_id):
            raise ValueError(
                f"{path}, line {line}: must hold a semantic ID, a title and an item ID with tabs "
                f"between them, got {text!r:.60}."
            )
        if item_id in titles:
            raise ValueError(
                f"{path}, line {line}: item {item_id!r:.60} stands in an earlier line as well, "
                f"line {line_of[item_id]}; keep one of the two."
            )
        line_of[item_id] = line
        titles[item_id] = title or None
    return _table(titles)


def _table(titles: Mapping[str, str | None]) -> ItemTable:
    ordered = in_catalog_order(dict(titles))
    return ItemTable(
        pl.DataFrame(
            {"item_id": list(ordered), "title": list(ordered.values())},
            schema={"item_id": pl.String, "title": pl.String},
        )
    )
