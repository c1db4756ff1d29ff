"""Frames on disk: folders of parquet files with hashes, so that damage is noticed."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet

from sidestep.files import check_replaceable, read_json, whole_folder, write_json

FORMAT_VERSION = 1
ROWS_AT_ONCE = 1_000_000


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, *, num_rows: int | None = None
) -> pl.DataFrame:
    """Reads a parquet file.

    Args:
        path: the file.
        columns: the columns to read; missing columns are ignored. None reads all.
        num_rows: number of rows to read from the start; None reads all.

    Raises:
        ValueError: if it is not a readable parquet file, for example a truncated one, or if two
            columns have the same name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    # Read by pyarrow, validated in full and without metadata: polars panics if these are damaged.
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            chosen = None if columns is None else [name for name in names if name in columns]
            if num_rows is None:
                table = file.read(chosen)
            else:
                batches = file.iter_batches(max(1, num_rows), columns=chosen)
                first = next(batches, None)
                table = file.schema_arrow.empty_table() if first is None else pa.table(first)
        table.validate(full=True)
        for name in table.column_names:
            if table.column_names.count(name) > 1:
                raise ValueError(f"{path}: two columns are called {name!r:.60}; rename one.")
        frame = pl.from_arrow(pa.Table.from_arrays(table.columns, names=table.column_names))
    except (pa.ArrowException, OSError, UnicodeDecodeError, pl.exceptions.PanicException) as error:
        raise ValueError(
            f"{path}: not a readable parquet file ({error}); it may be cut off, copy it again."
        ) from error
    assert isinstance(frame, pl.DataFrame)
    return frame


def content_sha256(frame: pl.DataFrame) -> str:
    """Hash of the names, values and order of a frame. It does not depend on the file format."""
    digest = hashlib.sha256(",".join(frame.columns).encode())
    for chunk in frame.iter_slices(ROWS_AT_ONCE):
        digest.update(chunk.write_ndjson().encode())
    return digest.hexdigest()


def save_frames(
    path: Path,
    kind: str,
    frames: Mapping[str, pl.DataFrame],
    description: Mapping[str, Any],
    folders: Mapping[str, Callable[[Path, Mapping[str, str]], None] | None] | None = None,
) -> None:
    """Writes a folder, whole or not at all.

    Args:
        path: the folder; an older folder of the same kind is replaced.
        kind: kind of the content. `<kind>.json` gets `description`, row counts and hashes.
        frames: the frames, by file name without ".parquet".
        description: any values that JSON can hold.
        folders: further folders within the folder, by name. Each has a function that writes it,
            given its path and the hashes of the frames; None leaves the folder out.

    Raises:
        ValueError: if `path` holds something else than a saved `kind`. It is left as it is.
    """
    folders = folders or {}
    check_place(path, kind, (*frames,), (*folders,))
    hashes = {name: content_sha256(frame) for name, frame in frames.items()}
    with whole_folder(path) as folder:
        for name, frame in frames.items():
            frame.write_parquet(folder / f"{name}.parquet")
        for name, write in folders.items():
            if write is not None:
                write(folder / name, hashes)
        write_json(
            folder / f"{kind}.json",
            {
                "format_version": FORMAT_VERSION,
                **description,
                "num_rows": {name: frame.height for name, frame in frames.items()},
                "sha256": hashes,
            },
        )


def check_place(path: Path, kind: str, frames: Sequence[str], folders: Sequence[str] = ()) -> None:
    """Raises a `ValueError` if `save_frames` would refuse the path: it holds something else."""
    check_replaceable(
        path,
        f"a saved {kind}",
        lambda folder: (folder / f"{kind}.json").is_file(),
        (f"{kind}.json", *(f"{name}.parquet" for name in frames), *folders),
    )


def load_frames(
    path: Path,
    kind: str,
    names: Sequence[str],
    keys: Sequence[str],
    *,
    may_lack: Sequence[str] = (),
) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    """Reads what `save_frames` wrote.

    Args:
        path: the folder.
        kind: of what is in it.
        names: the frames to read.
        keys: that the description must have.
        may_lack: frames that are read if they were saved.

    Raises:
        ValueError: if a file is damaged, or differs from the saved one.
    """
    file = path / f"{kind}.json"
    if not file.is_file():
        raise FileNotFoundError(f"{path} is not a saved {kind}: there is no {file.name} in it.")
    description = read_json(file)
    if not isinstance(description, dict) or "format_version" not in description:
        raise ValueError(f"{file}: this does not describe a saved {kind}.")
    if description["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{file}: format version {description['format_version']!r} is not {FORMAT_VERSION}; "
            f"make the {kind} again with this version of Sidestep."
        )
    missing = [key for key in (*keys, "sha256") if key not in description]
    if missing:
        raise ValueError(f"{file}: {missing} are missing; make the {kind} again.")
    names = [*names, *(name for name in may_lack if name in description["sha256"])]
    frames = {name: read_parquet(path / f"{name}.parquet") for name in names}
    for name, frame in frames.items():
        if content_sha256(frame) != description["sha256"].get(name):
            raise ValueError(
                f"{path / name}.parquet: not the content that {file.name} describes; "
                f"make the {kind} again."
            )
    return frames, description
