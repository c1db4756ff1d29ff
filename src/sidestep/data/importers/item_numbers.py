"""Numbers of items, such as margins: one number per item, from a table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from sidestep.data.importers.columns import read_table

WORTH = "worth"
"""The column of a table of worths that holds the numbers."""


def read_item_numbers(
    path: Path, item_ids: Sequence[str], *, column: str = WORTH
) -> Float[np.ndarray, " items"]:
    """Reads one number per item, in the order of `item_ids`.

    Args:
        path: a table with a column `item_id` and a column of numbers, see `read_table`. The rows
            may have any order; rows of other items are ignored.
        item_ids: the items that need a number.
        column: the column of the numbers.

    Returns:
        Finite numbers in float64.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no table or lacks a column, an item stands twice or has no number,
            or a number is not finite.
    """
    table = read_table(path, ["item_id", column])
    ids, numbers = table.ids("item_id"), table.numbers(column, may_be_missing=False)
    is_repeated = ~ids.is_first_distinct()
    if is_repeated.any():
        row = is_repeated.to_list().index(True)
        raise ValueError(
            f"{table.place(row)}: the item {ids[row]!r:.60} stands twice; keep one row per item."
        )
    wanted = pl.DataFrame({"item_id": pl.Series(item_ids, dtype=pl.String)})
    known = pl.DataFrame({"item_id": ids, "number": numbers})
    found = wanted.join(known, on="item_id", how="left", maintain_order="left")
    is_missing = found["number"].is_null()
    if is_missing.any():
        first = found["item_id"].filter(is_missing)[0]
        raise ValueError(
            f"{path}: {int(is_missing.sum()):,} of {len(item_ids):,} items have no {column}, such "
            f"as {first!r:.60}; give every item of the catalog one number."
        )
    return found["number"].to_numpy()
