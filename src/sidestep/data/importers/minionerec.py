"""MiniOneRec: train, valid and test CSVs whose rows are histories, as Python lists, and targets.

The split is theirs and is kept as it is. Their semantic IDs are no data: the tokenizer imports
published ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import polars as pl

from sidestep.data.dataset import Dataset
from sidestep.data.given_rows import GivenRow, given_split, sequences_of
from sidestep.data.importers.columns import Table, read_table
from sidestep.data.importers.item_texts import in_catalog_order, read_item_texts
from sidestep.data.importers.python_lists import python_list
from sidestep.data.importers.sources import read_text, sha256_of
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable

PARTS = ("train", "valid", "test")
_CATEGORY_END = "_5_"


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniOneRecFiles:
    """The files of one category.

    parts: the rows, by part.
    items: `*.item.json`, or the `info` text that has titles; None where there is neither.
    """

    category: str
    parts: Mapping[str, Path]
    items: Path | None


def minionerec_files(folder: Path, category: str | None = None) -> MiniOneRecFiles:
    """The files in a folder: train/*.csv, valid/*.csv and test/*.csv, or train.csv and so on.

    Item texts are index/*.item.json or, where there is none, info/*.txt; of either, the one that
    begins with the category.

    Args:
        folder: as MiniOneRec has it, data/Amazon for example.
        category: the beginning of the files' names; needed where there are several.

    Raises:
        ValueError: a part is missing, or there are several to choose from.
    """
    parts = {part: _part(folder, part, category) for part in PARTS}
    stems = {path.stem for path in parts.values()}
    # Industrial_and_Scientific_5_2016-10-2018-11: what follows are filters and dates.
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


def import_minionerec(files: MiniOneRecFiles, *, name: str | None = None) -> Dataset:
    """Imports the rows as the split of a dataset.

    Training rows that follow each other become one sequence, see `given_split`; the interactions
    are the users' sequences as far as all rows together tell them. Items are those of the item
    file, else those of the rows, with the titles that stand there.

    Args:
        files: from `minionerec_files`.
        name: of the dataset; None takes the category.

    Raises:
        ValueError: if a file is not what it should be, with the file and the line.
    """
    tables = {part: _read_part(path) for part, path in files.parts.items()}
    items = _titled(list(tables.values())) if files.items is None else _item_file(files.items)
    rows = {part: _rows(table, items, files.items) for part, table in tables.items()}
    sequences = sequences_of(list(chain.from_iterable(rows.values())))
    used = [item for sequence in sequences.values() for item in sequence]
    users = [user_id for user_id, sequence in sequences.items() for _ in sequence]
    return Dataset(
        interactions=Interactions.from_columns(
            user_ids=pl.Series(users, dtype=pl.String),
            item_ids=items.frame["item_id"].gather(pl.Series(used, dtype=pl.UInt32)),
        ),
        items=items,
        name=name or files.category,
        sources={
            f"{part}/{path.name}": digest
            for part, path in files.parts.items()
            for digest in sha256_of(path).values()
        }
        | sha256_of(files.items),
        split=given_split(rows["train"], rows["valid"], rows["test"]),
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The rows of one file, not yet looked up."""

    table: Table
    user_ids: list[str]
    histories: list[list[str]]
    targets: list[str]


def _read_part(path: Path) -> _Part:
    table = read_table(path)
    texts = table.column("history_item_id")
    return _Part(
        table=table,
        user_ids=table.ids("user_id").to_list(),
        histories=[_ids(table, row, text) for row, text in enumerate(texts)],
        targets=table.ids("item_id").to_list(),
    )


def _ids(table: Table, row: int, text: str | None) -> list[str]:
    """The item IDs in a cell such as [117, 4] or ['a', 'b']."""
    items = python_list(text or "")
    if items is None:
        raise ValueError(
            f"{table.place(row)}: history_item_id {text!r:.60} is no list of item IDs as in "
            "[117, 4] or ['a', 'b']; it may be cut off."
        )
    for item in items:
        # type() and not isinstance(): True would pass for an int.
        if type(item) not in (int, str) or item == "":
            raise ValueError(
                f"{table.place(row)}: history_item_id holds {item!r:.60}, which cannot be an item; "
                "IDs are whole numbers or texts."
            )
    return [str(item) for item in items]


def _titled(parts: Sequence[_Part]) -> ItemTable:
    """The items of all rows, with the titles that stand there."""
    titles: dict[str, str | None] = {}
    for part in parts:
        titles.update(dict.fromkeys(chain(part.targets, *part.histories)))
    for part in parts:
        for item, title in zip(part.targets, _texts(part, "item_title"), strict=True):
            titles[item] = titles[item] or title
    for part in parts:
        # Only a user's first item was no target, so few cells need reading.
        cells = _texts(part, "history_item_title")
        for history, cell in zip(part.histories, cells, strict=True):
            if cell is not None and any(titles[item] is None for item in history):
                names = python_list(cell) or []
                if len(names) == len(history) and all(isinstance(name, str) for name in names):
                    for item, name in zip(history, names, strict=True):
                        titles[item] = titles[item] or name or None
    return _table(titles)


def _texts(part: _Part, name: str) -> Sequence[str | None]:
    """A column of texts, null everywhere if there is none."""
    if name not in part.table.frame.columns:
        return [None] * len(part.targets)
    return part.table.texts(name).to_list()


def _item_file(path: Path) -> ItemTable:
    return read_item_texts(path) if path.suffix == ".json" else _info(path)


def _info(path: Path) -> ItemTable:
    """Reads lines of a semantic ID, a title and an item ID, with tabs between them."""
    titles: dict[str, str | None] = {}
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
                f"{path}, line {line}: item {item_id!r:.60} stands in an earlier line; keep one "
                "of the two."
            )
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


def _rows(part: _Part, items: ItemTable, items_path: Path | None) -> list[GivenRow]:
    """The rows by item index."""
    index_of = items.index_of
    try:
        return [
            GivenRow(
                user_id=user_id,
                history=tuple(index_of[item] for item in history),
                target=index_of[target],
            )
            for user_id, history, target in zip(
                part.user_ids, part.histories, part.targets, strict=True
            )
        ]
    except KeyError as error:
        unknown = error.args[0]
        row = next(
            row
            for row, (history, target) in enumerate(zip(part.histories, part.targets, strict=True))
            if unknown == target or unknown in history
        )
        raise ValueError(
            f"{part.table.place(row)}: item {unknown!r:.60} has no entry in "
            f"{items_path}; the files belong to different datasets, or one of them is cut off."
        ) from error
