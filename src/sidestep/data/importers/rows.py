"""Rows: published splits, whose rows are a user, a history and the target that followed it.

The published split is kept. A part that was not published is taken out of the training part.
Without a training part, the other parts serve for evaluation only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

import polars as pl

from sidestep.data.dataset import Dataset
from sidestep.data.given_rows import GivenRow, given_split, held_out, sequences_of
from sidestep.data.importers.columns import Table, read_table
from sidestep.data.importers.imported import Imported
from sidestep.data.importers.item_texts import in_catalog_order
from sidestep.data.importers.list_columns import looks_like_lists, read_lists
from sidestep.data.importers.sources import sha256_of
from sidestep.data.importers.table import read_items
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")

_FEW = 20
"""With at least so many rows, some target is expected to be in some history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFile:
    """The rows of one file, with item IDs.

    remarks: sentences on the lists of the file that a user should know.
    """

    table: Table
    rows: list[GivenRow[str]]
    remarks: list[str] = field(default_factory=list)


def import_rows(
    paths: Mapping[Part, Path],
    *,
    user: str = "user_id",
    history: str = "history",
    target: str = "target",
    items_path: Path | None = None,
    items_item: str = "item_id",
    name: str | None = None,
) -> Imported:
    """Imports rows as the split of a dataset.

    Args:
        paths: files of one or more parts, of any kind that `read_table` reads.
        user: the column of users; a user may have several rows.
        history: the column of lists of items, oldest first; an empty list is a valid history.
        target: the column of the item that followed, or of the list of items that followed: each
            item of a list becomes a row with the same history.
        items_path: a file of items that `read_items` reads; without it the items have no texts.
        items_item: the column of item IDs in `items_path`.
        name: name of the dataset; None takes that of the folder, as files are named by their parts.

    Raises:
        ValueError: if a file is invalid; the message names the file and the line.
    """
    columns = [user, history, target]
    files = {
        part: read_rows(
            read_table(path, columns, lists=[history, target]),
            user=user,
            history=history,
            target=target,
        )
        for part, path in paths.items()
    }
    texts = None if items_path is None else read_items(items_path, items_item)
    folder = next((path.absolute().parent.name for path in paths.values()), "")
    return dataset_of_rows(files, texts, items_path=items_path, name=name or folder or "rows")


def read_rows(table: Table, *, user: str, history: str, target: str) -> RowFile:
    """Reads the rows of one file.

    Raises:
        ValueError: if a row is invalid; the message names the line.
    """
    histories, remarks = _lists(table, history)
    targets: Iterable[Sequence[str]]
    if looks_like_lists(table.column(target)):
        targets, of_targets = _lists(table, target)
        remarks += of_targets
        if [] in targets:
            row = targets.index([])
            raise ValueError(f"{table.place(row)}: {target!r} has no item; drop the row.")
    else:
        targets = ([item] for item in table.ids(target))
    return RowFile(
        table=table,
        rows=[
            GivenRow(user_id=user_id, history=tuple(items), target=item)
            for user_id, items, followed in zip(table.ids(user), histories, targets, strict=True)
            for item in dict.fromkeys(followed)
        ],
        remarks=remarks,
    )


def _lists(table: Table, name: str) -> tuple[list[list[str]], list[str]]:
    """The lists of items of a column, one per row, and remarks on them.

    Raises:
        ValueError: an item of a list is missing; the message names the line.
    """
    lists = read_lists(table, name)
    for row, cell in enumerate(lists.cells):
        if not all(cell):
            raise ValueError(
                f"{table.place(row)}: an item of {name!r} is missing; drop the row, or the "
                "item from its list."
            )
    remarks = [f"{table.path.name}: {remark}" for remark in lists.remarks]
    return [list(map(str, cell)) for cell in lists.cells], remarks


def dataset_of_rows(
    files: Mapping[Part, RowFile],
    texts: ItemTable | None,
    *,
    items_path: Path | None,
    name: str,
) -> Imported:
    """Makes a dataset whose split is the rows of some files.

    Training rows that follow each other become one sequence, see `given_split`. The interactions
    are the users' sequences, rebuilt from all rows. The items are all items of `texts`, in a row or
    not, and the items of the rows.

    Args:
        files: rows of each part.
        texts: items with texts; None if there are no texts.
        items_path: the file of `texts`, if there is one.
        name: name of the dataset.

    Raises:
        ValueError: if there is no file, or none of the items has a text.
    """
    if not files:
        raise ValueError("there are no rows; name a file of them, for training or to evaluate.")
    remarks = [remark for part in PARTS if part in files for remark in files[part].remarks]
    remarks += _disjoint_remark(files)
    items, unknown = _items(files, texts, items_path)
    index_of = items.index_of
    rows = {
        part: [
            GivenRow(
                user_id=row.user_id,
                history=tuple(index_of[item] for item in row.history),
                target=index_of[row.target],
            )
            for row in (files[part].rows if part in files else ())
        ]
        for part in PARTS
    }
    sequences = sequences_of(list(chain.from_iterable(rows.values())))
    used = [item for sequence in sequences.values() for item in sequence]
    users = [user_id for user_id, sequence in sequences.items() for _ in sequence]
    remarks += _complete(rows, files)
    if unknown:
        remarks.append(f"{unknown} items have no text.")
    dataset = Dataset(
        interactions=Interactions.from_columns(
            user_ids=pl.Series(users, dtype=pl.String),
            item_ids=items.frame["item_id"].gather(pl.Series(used, dtype=pl.UInt32)),
        ),
        items=items,
        name=name,
        sources={
            f"{part}/{file.table.path.name}": digest
            for part, file in files.items()
            for digest in sha256_of(file.table.path).values()
        }
        | sha256_of(items_path),
        split=given_split(rows["train"], rows["valid"], rows["test"]),
    )
    return Imported(dataset=dataset, remarks=tuple(remarks))


def _complete(rows: dict[Part, list[GivenRow[int]]], files: Mapping[Part, RowFile]) -> list[str]:
    """Takes the parts without a file out of the training part. Returns remarks on that."""
    remarks = []
    if "train" not in files:
        return [
            "There is no training file, so nothing can be trained on this dataset. It serves to "
            "evaluate recommenders of its items that were trained elsewhere."
        ]
    purposes: dict[Part, str] = {"test": "to judge by", "valid": "to choose by"}
    for part, purpose in purposes.items():
        if part in files:
            continue
        num_users = len({row.user_id for row in rows["train"]})
        is_per_user = len(rows["train"]) > num_users
        rows["train"], rows[part] = held_out(rows["train"])
        if not rows[part] or not rows["train"]:
            raise ValueError(
                f"{files['train'].table.path}: there is no {part} file, and "
                f"{len(files['train'].rows)} training rows are too few to take rows out of them; "
                f"name a file with --{part}."
            )
        which = "each user's last training row" if is_per_user else "every tenth training row"
        remarks.append(
            f"There is no {part} file: {which} ({len(rows[part]):,} in all) is a row {purpose}, "
            "and is not trained on."
        )
    return remarks


def _disjoint_remark(files: Mapping[Part, RowFile]) -> list[str]:
    """Remark for the case that histories and targets seem to name items in two ways."""
    rows = [row for file in files.values() for row in file.rows]
    targets = {row.target for row in rows}
    taken = next((row for row in rows if row.history), None)
    if len(rows) < _FEW or taken is None:
        return []
    if any(item in targets for row in rows for item in row.history):
        return []
    return [
        f"No target, such as {rows[0].target!r:.40}, stands in any history, such as "
        f"{taken.history[0]!r:.40}; name two columns with the same item IDs."
    ]


def _items(
    files: Mapping[Part, RowFile], texts: ItemTable | None, items_path: Path | None
) -> tuple[ItemTable, int]:
    """Items of texts and rows, in the order of the catalog, and the number without a text."""
    used = dict.fromkeys(
        item
        for file in files.values()
        for item in chain([row.target for row in file.rows], *(row.history for row in file.rows))
    )
    if texts is None:
        return ItemTable.from_ids(list(in_catalog_order(used))), 0
    unknown = [item for item in used if item not in texts.index_of]
    if len(unknown) == len(used):
        paths: Sequence[str] = [str(file.table.path) for file in files.values()]
        raise ValueError(
            f"{items_path}: none of the {len(used)} items of {', '.join(paths)} is in it, for "
            f"example not {unknown[0]!r:.60}; the files belong to different datasets."
        )
    if not unknown:
        return texts, 0
    added = pl.DataFrame({"item_id": pl.Series(unknown, dtype=pl.String)})
    frame = pl.concat([texts.frame, added], how="diagonal")
    ordered = in_catalog_order(dict.fromkeys(frame["item_id"]))
    place_of = {item: row for row, item in enumerate(frame["item_id"])}
    rows = pl.Series([place_of[item] for item in ordered], dtype=pl.UInt32)
    return ItemTable(frame[rows]), len(unknown)
