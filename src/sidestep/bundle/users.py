"""Users of a bundle: the histories of known users, and what describes these users."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sidestep.bundle.requests import check_ids
from sidestep.catalog.catalog import Catalog
from sidestep.data.frames import read_parquet
from sidestep.data.histories import Histories
from sidestep.data.users import UserTable

_SCHEMA: dict[str, pl.DataType] = {"user_id": pl.String(), "items": pl.List(pl.Int32())}
_TIMED_SCHEMA: dict[str, pl.DataType] = {**_SCHEMA, "timestamps": pl.List(pl.Int64())}

_INFO = "described_by"
"""The column with what describes each user: one field of text per column of the user table."""


def write_users(file: Path, users: Histories, info: UserTable | None = None) -> None:
    """Writes user IDs and their items, oldest first, as Parquet.

    Args:
        file: is replaced.
        users: their times are written where they are known.
        info: what describes them, with one column or more; None writes nothing of this.
    """

    def lists(values: np.ndarray) -> list[list[int]]:
        flat = values.tolist()
        return [flat[start:end] for start, end in pairwise(users.offsets.tolist())]

    frame: dict[str, Any] = {"user_id": list(users.user_ids), "items": lists(users.items)}
    schema = _SCHEMA
    if users.timestamps is not None:
        frame["timestamps"], schema = lists(users.timestamps), _TIMED_SCHEMA
    written = pl.DataFrame(frame, schema=schema)
    if info is not None:
        described = info.of(users.user_ids).drop("user_id")
        written = written.with_columns(described.to_struct(_INFO))
    written.write_parquet(file)


def read_users(file: Path, num_items: int) -> Histories:
    """Reads histories, whose items the catalog must have.

    Raises:
        ValueError: the file is damaged, or of another catalog.
    """
    frame = read_parquet(file).drop(_INFO, strict=False)
    is_known = dict(frame.schema) in (_SCHEMA, _TIMED_SCHEMA)
    if not is_known or any(frame.null_count().row(0)):
        raise ValueError(f"{file}: does not hold histories of users; copy the bundle again.")
    lengths = frame["items"].list.len().to_numpy()
    timestamps = None
    if "timestamps" in frame.columns:
        if (frame["timestamps"].list.len().to_numpy() != lengths).any():
            raise ValueError(f"{file}: has not one time per item; copy the bundle again.")
        timestamps = frame["timestamps"].explode(empty_as_null=False).to_numpy().astype(np.int64)
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
        timestamps=timestamps,
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
        ValueError: no histories are known, or no user is asked for.
    """
    if isinstance(asked, Sized) and len(asked) == 0:
        raise ValueError(
            "users is empty, so that no user is asked for; leave users out to ask for all known "
            "users, or pass IDs of users, or histories by user ID."
        )
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


def times_of(users: Iterable[str], known: Histories | None) -> list[list[int]] | None:
    """The times of the histories of known users, one list per user; None if they are unknown.

    Args:
        users: user IDs, all of them known.
        known: the histories of known users; None for none.
    """
    if known is None or known.timestamps is None:
        return None
    rows = {user: row for row, user in enumerate(known.user_ids)}
    offsets, timestamps = known.offsets, known.timestamps
    return [timestamps[offsets[rows[user]] : offsets[rows[user] + 1]].tolist() for user in users]


def read_user_info(file: Path) -> UserTable | None:
    """Columns that describe the users of `read_users`; None if the file has none.

    Raises:
        ValueError: the file is damaged.
    """
    frame = read_parquet(file)
    if _INFO not in frame.columns:
        return None
    described = frame.schema[_INFO]
    if not isinstance(described, pl.Struct) or any(
        field.dtype != pl.String for field in described.fields
    ):
        raise ValueError(f"{file}: does not hold columns of users; copy the bundle again.")
    return UserTable(frame.select("user_id", _INFO).unnest(_INFO))
