"""Items: the items of a catalog, and the texts that describe them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl


def check_texts(frame: pl.DataFrame, what: str) -> None:
    """Raises a `ValueError` unless a frame holds the texts of things that can be told apart.

    Args:
        frame: the IDs, unique and never null or empty, and columns of text.
        what: what a row describes, such as "item"; the column of IDs is then `item_id`.
    """
    column = f"{what}_id"
    if column not in frame.columns:
        raise ValueError(f"{what}s lack the column {column!r}; there are {frame.columns}.")
    for name, dtype in frame.schema.items():
        if dtype != pl.String:
            raise ValueError(f"column {name!r} of {what}s must be text, got {dtype}.")
    ids = frame[column]
    is_absent = ids.is_null() | (ids == "")
    if is_absent.any():
        raise ValueError(f"{column} is missing in row {is_absent.arg_max()} of {what}s.")
    is_repeated = ~ids.is_first_distinct()
    if is_repeated.any():
        row = is_repeated.to_list().index(True)
        raise ValueError(f"{what} {ids[row]!r} stands twice in {what}s, again in row {row}.")


@dataclass(frozen=True, eq=False)
class ItemTable:
    """The items of a dataset; an item's index is its row.

    frame: `item_id`, unique and never null or empty, and any number of text columns. A null in a
        text column means that the source has no text.

    Raises:
        ValueError: on construction, if `frame` is anything else.
    """

    frame: pl.DataFrame

    def __post_init__(self) -> None:
        """Refuses a frame with columns that are not text, or with missing or repeated item IDs."""
        check_texts(self.frame, "item")

    @classmethod
    def from_ids(cls, item_ids: Sequence[str]) -> "ItemTable":
        """Makes items without texts: only their IDs are known."""
        return cls(pl.DataFrame({"item_id": pl.Series(item_ids, dtype=pl.String)}))

    def __len__(self) -> int:
        return self.frame.height

    @cached_property
    def item_ids(self) -> tuple[str, ...]:
        """The ID of each item, by index."""
        return tuple(self.frame["item_id"])

    @cached_property
    def index_of(self) -> dict[str, int]:
        """The index of each item, by ID."""
        return {item_id: row for row, item_id in enumerate(self.item_ids)}

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that describe the items."""
        return tuple(name for name in self.frame.columns if name != "item_id")

    def texts(self, columns: Sequence[str]) -> list[str]:
        """One text per item: its non-empty `columns` in the given order, one per line.

        Raises:
            KeyError: if a column does not exist.
        """
        unknown = [name for name in columns if name not in self.text_columns]
        if unknown:
            raise KeyError(f"items have no text columns {unknown}; there are {self.text_columns}.")
        if not columns:
            return [""] * len(self)
        # An empty text would leave an empty line: concat_str skips nulls only.
        parts = [pl.when(pl.col(name) != "").then(pl.col(name)) for name in columns]
        return self.frame.select(pl.concat_str(parts, separator="\n", ignore_nulls=True))[
            :, 0
        ].to_list()

    def restricted_to(self, item_ids: Sequence[str] | pl.Series) -> "ItemTable":
        """Keeps the items among `item_ids`, in the order of this table. Their indices change."""
        return ItemTable(self.frame.filter(pl.col("item_id").is_in(list(item_ids))))
