"""Users of a bundle: the histories of known users, as item indices of the catalog."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sidestep.bundle.requests import check_ids
from sidestep.catalog.catalog import Catalog
from sidestep.data.frames import read_parquet
from sidestep.data.histories import Histories

_SCHEMA = {"user_id": pl.String(), "items": pl.List(pl.Int32())}


def write_users(file: Path, users: Histories) -> None:
    """Writes user IDs and their items, oldest first, as Parquet."""
    items = users.items.tolist()
    lists = [items[start:end] for start, end in pairwise(users.offsets.tolist())]
    frame = {"user_id": list(users.user_ids), "items": lists}
    pl.DataFrame(frame, schema=_SCHEMA).write_parquet(file)


def read_users(file: Path, num_items: int) -> Histories:
    """Reads histories, whose items the catalog must have.

    Raises:
        ValueError: the file is damaged, or of another catalog.
    """
    frame = read_parquet(file)
    if dict(frame.schema) != _SCHEMA or any(frame.null_count().row(0)):
        raise ValueError(f"{file}: does not hold histories of users; copy the bundle again.")
    lengths = frame["items"].list.len().to_numpy()
    items = frame["items"].explode(empty_as_null=False).to_numpy().astype(np.int32)
    if len(items) and (items.min() < 0 or items.max() >= num_items):
        raise ValueError(
            f"{file}: names items that the catalog of {num_items:,} items lacks; copy the bundle "
            "again."
        )
    return Histories(
        items=items,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        user_ids=tuple(frame["user_id"]),
    )


def histories_of(
    asked: Any, known: Histories | None, catalog: Catalog
) -> Mapping[str, Sequence[str]]:
    """The item IDs of the users that are asked for, oldest first, by user ID.

    Args:
        asked: user IDs, None for all known users, or histories by user ID, which are returned.
        known: the histories of known users; None for none.
        catalog: of the items.

    Raises:
        KeyError: a user is not known.
        TypeError: `asked` is one text, or an ID is no text.
        ValueError: no histories are known.
    """
    if isinstance(asked, Mapping):
        return asked
    if known is None:
        raise ValueError(
            "this recommender knows no histories of users; pass them: users={'u1': ['i1', "
            "'i2']}, oldest first."
        )
    if isinstance(asked, str):
        raise TypeError(f'users is a list of user IDs, got a text; pass ["{asked}"].')
    if asked is not None:
        check_ids(asked, "user")
    rows = {user: row for row, user in enumerate(known.user_ids)}
    users = list(rows) if asked is None else list(dict.fromkeys(asked))
    for user in users:
        if user not in rows:
            raise KeyError(
                f"users: there is no history of {user!r:.60}; pass histories by user ID, or leave "
                "the user out."
            )
    offsets, items = known.offsets, known.items
    return {
        user: catalog.ids_of(items[offsets[rows[user]] : offsets[rows[user] + 1]]) for user in users
    }
