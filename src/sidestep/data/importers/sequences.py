"""Sequences: the ordered items of each user and nothing else, the form that LC-Rec and P5 share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sidestep.data.dataset import Dataset
from sidestep.data.importers.item_texts import in_catalog_order, read_item_texts
from sidestep.data.importers.sources import sha256_of
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """Sequences of users from a file.

    item_ids: items of each user, oldest first.
    place: gives the place of a user in the file, for errors.
    """

    path: Path
    user_ids: list[str]
    item_ids: list[list[str]]
    place: Callable[[str], str]


def dataset_from(sequences: Sequences, items_path: Path | None, name: str) -> Dataset:
    """Joins sequences with item texts. Without texts, the items are those of the sequences.

    Raises:
        ValueError: if an item of the sequences has no entry in `items_path`.
    """
    frame = pl.DataFrame(
        {"user_id": sequences.user_ids, "item_id": sequences.item_ids},
        schema={"user_id": pl.String, "item_id": pl.List(pl.String)},
    ).explode("item_id")
    if items_path is None:
        used = frame["item_id"].unique(maintain_order=True)
        items = ItemTable.from_ids(list(in_catalog_order(dict.fromkeys(used))))
    else:
        items = read_item_texts(items_path)
        _refuse_unknown(sequences, frame, items, items_path)
    return Dataset(
        interactions=Interactions.from_columns(
            user_ids=frame["user_id"], item_ids=frame["item_id"]
        ),
        items=items,
        name=name,
        sources=sha256_of(sequences.path, items_path),
    )


def _refuse_unknown(
    sequences: Sequences, frame: pl.DataFrame, items: ItemTable, items_path: Path
) -> None:
    unknown = frame.filter(~pl.col("item_id").is_in(items.frame["item_id"].to_list()))
    if unknown.height:
        user_id, item_id = unknown.row(0)
        raise ValueError(
            f"{sequences.place(user_id)}: item {item_id!r:.60} has no entry in {items_path} "
            f"({unknown['item_id'].n_unique()} such items in all); the two files may belong to "
            "different datasets, or one of them may be cut off."
        )
