"""Given vectors: the user's own item embeddings, from a `.npy`, `.npz` or parquet file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import polars as pl
from jaxtyping import Float


def read_given(
    path: Path, item_ids: Sequence[str], *, dim: int | None = None
) -> Float[np.ndarray, "items dim"]:
    """Reads one vector per item, in the order of `item_ids`.

    A `.npy` file has one row per item in the order of `item_ids`. An `.npz` file (arrays `item_id`
    and `vector`) and a parquet file (columns `item_id` and `vector`) name the items, in any order;
    other items are ignored.

    Args:
        path: the file; its suffix tells its kind.
        item_ids: the items that need a vector.
        dim: width that the vectors must have; None takes any width.

    Returns:
        Vectors in float32, not scaled.

    Raises:
        FileNotFoundError: there is no such file.
        KeyError: an item has no vector, or the file lacks a column.
        ValueError: the file is of another kind, names an item twice, has a wrong shape, or holds
            NaN.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of item vectors.")
    if path.suffix == ".npy":
        vectors = _as_vectors(path, _load_numpy(path))
        if len(vectors) != len(item_ids):
            raise ValueError(
                f"{path}: {len(vectors)} rows for {len(item_ids)} items; a .npy file needs one row "
                "per item in the order of the items, an .npz or parquet file can name them."
            )
    elif path.suffix == ".npz":
        vectors = _matched(path, *_read_npz(path), item_ids)
    elif path.suffix == ".parquet":
        vectors = _matched(path, *_read_parquet(path), item_ids)
    else:
        raise ValueError(f"{path}: cannot read {path.suffix!r} files; give .npy, .npz or .parquet.")
    _check(path, vectors, item_ids, dim)
    return vectors


def _load_numpy(path: Path) -> Any:
    """The array of a `.npy` file, or the archive of arrays of an `.npz` file."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, BadZipFile) as error:
        raise ValueError(
            f"{path}: not a {path.suffix} file of plain arrays ({error}); write it with "
            "numpy.save or numpy.savez, without Python objects."
        ) from error
    if isinstance(loaded, np.ndarray) != (path.suffix == ".npy"):
        raise ValueError(
            f"{path}: the suffix is {path.suffix}, the content is another's; rename it."
        )
    return loaded


def _read_npz(path: Path) -> tuple[list[str], Float[np.ndarray, "rows dim"]]:
    archive = _load_numpy(path)
    columns = {}
    for name in ("item_id", "vector"):
        if name not in archive:
            raise KeyError(
                f"{path}: no array {name!r} among {sorted(archive)}; write it with "
                "numpy.savez(path, item_id=..., vector=...)."
            )
        try:
            columns[name] = archive[name]
        except ValueError as error:
            raise ValueError(
                f"{path}: array {name!r} holds Python objects; convert item ids with "
                "numpy.array(ids, dtype=str)."
            ) from error
    return [str(item) for item in columns["item_id"]], _as_vectors(path, columns["vector"])


def _read_parquet(path: Path) -> tuple[list[str], Float[np.ndarray, "rows dim"]]:
    try:
        table = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: not a parquet file ({error}).") from error
    for name in ("item_id", "vector"):
        if name not in table.columns:
            raise KeyError(
                f"{path}: no column {name!r} among {table.columns}; a file of vectors has the "
                "columns item_id and vector (a list of numbers)."
            )
    lists = table["vector"]
    if isinstance(lists.dtype, pl.Array):
        lists = lists.arr.to_list()
    if not isinstance(lists.dtype, pl.List):
        raise ValueError(f"{path}: column 'vector' is {lists.dtype}, not a list of numbers.")
    items = [str(item) for item in table["item_id"]]
    if len(items) == 0:
        return items, np.zeros((0, 0), dtype=np.float32)
    lengths = lists.list.len().fill_null(0).to_numpy()
    if (lengths != lengths[0]).any():
        row = int(np.argmax(lengths != lengths[0]))
        raise ValueError(
            f"{path}: item {items[row]!r} (row {row}) has a vector of {lengths[row]} numbers, the "
            f"first item's has {lengths[0]}; all vectors need the same width."
        )
    flat = lists.explode(empty_as_null=False).to_numpy()
    return items, _as_vectors(path, flat.reshape(len(items), -1))


def _as_vectors(path: Path, array: np.ndarray) -> Float[np.ndarray, "rows dim"]:
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: an array of shape {array.shape} and type {array.dtype} is not one row of "
            "numbers per item."
        )
    return np.asarray(array, dtype=np.float32)


def _matched(
    path: Path,
    given_ids: list[str],
    vectors: Float[np.ndarray, "rows dim"],
    item_ids: Sequence[str],
) -> Float[np.ndarray, "items dim"]:
    """The vectors in the order of `item_ids`."""
    if len(given_ids) != len(vectors):
        raise ValueError(f"{path}: {len(given_ids)} item ids for {len(vectors)} vectors.")
    rows = {item: row for row, item in enumerate(given_ids)}
    if len(rows) != len(given_ids):
        row, item = next((row, item) for row, item in enumerate(given_ids) if rows[item] != row)
        raise ValueError(
            f"{path}: item {item!r} has two vectors, in rows {row} and {rows[item]}; keep one."
        )
    missing = [item for item in item_ids if item not in rows]
    if missing:
        raise KeyError(
            f"{path}: no vector for {len(missing)} of {len(item_ids)} items, the first is "
            f"{missing[0]!r}; add their vectors or drop these items from the data."
        )
    return vectors[[rows[item] for item in item_ids]]


def _check(
    path: Path,
    vectors: Float[np.ndarray, "items dim"],
    item_ids: Sequence[str],
    dim: int | None,
) -> None:
    if dim is not None and vectors.shape[1] != dim:
        raise ValueError(f"{path}: vectors have width {vectors.shape[1]}, expected {dim}.")
    is_bad = ~np.isfinite(vectors).all(axis=1)
    if is_bad.any():
        row = int(is_bad.argmax())
        raise ValueError(
            f"{path}: the vectors of {int(is_bad.sum())} items hold NaN or infinity, the first is "
            f"item {item_ids[row]!r}; give zeros for an item of which nothing is known."
        )
