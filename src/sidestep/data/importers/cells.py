"""Cells: the content of a table's file, not yet interpreted, with the place of each row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The rows of a file.

    frame: the cells; they are texts if the file has no types.
    place_of: gives the place of row i in the file, such as "line 12".
    """

    frame: pl.DataFrame
    place_of: Callable[[int], str]


def joined_cells(folder: Path, parts: Sequence[tuple[Path, Cells]]) -> Cells:
    """Joins the rows of the parts in a folder, one part after the other.

    Raises:
        ValueError: a column has another type in one part than in another.
    """
    frames = [cells.frame for _, cells in parts]
    names = frames[0].columns
    try:
        if any({*frame.columns} != {*names} for frame in frames):
            raise _differing(folder, parts)
        frame = pl.concat([frame.select(names) for frame in frames], how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        raise _differing(folder, parts) from None
    starts = np.cumsum([0, *(frame.height for frame in frames)])

    def place_of(row: int) -> str:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        path, cells = parts[part]
        return f"{path.relative_to(folder)}, {cells.place_of(row - int(starts[part]))}"

    return Cells(frame=frame, place_of=place_of)


def _differing(folder: Path, parts: Sequence[tuple[Path, Cells]]) -> ValueError:
    first_path, first = parts[0]
    for path, cells in parts[1:]:
        for name in {**first.frame.schema, **cells.frame.schema}:
            pair = [
                frame.select(name).clear() if name in frame.columns else None
                for frame in (first.frame, cells.frame)
            ]
            one, other = pair
            if one is None or other is None:
                has, lacks = (path, first_path) if one is None else (first_path, path)
                return ValueError(
                    f"{folder}: {has.name} has the column {name!r:.60} and {lacks.name} has not; "
                    "write all parts alike."
                )
            try:
                pl.concat([one, other], how="vertical_relaxed")
            except pl.exceptions.PolarsError:
                return ValueError(
                    f"{folder}: the column {name!r:.60} is {one.dtypes[0]} in {first_path.name} "
                    f"and {other.dtypes[0]} in {path.name}; write all parts alike."
                )
    raise AssertionError("the parts do not differ")
