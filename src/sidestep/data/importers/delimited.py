"""Delimited files: large files with one row per line and no quotes, read in blocks as texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sidestep.data.importers.columns import Table
from sidestep.data.importers.lines import OnProgress, read_blocks
from sidestep.data.importers.sources import empty_file, listed, not_utf8


def first_fields(path: Path, separator: str) -> list[str]:
    """Fields of the first line that is not blank, such as the names of the columns.

    Raises:
        ValueError: if there is no such line, or if it is not UTF-8.
    """
    for block in read_blocks(path):
        for line, data in block.lines():
            try:
                return data.decode("utf-8").rstrip("\r").split(separator)
            except UnicodeDecodeError as error:
                raise not_utf8(block.place(line), error.reason) from None
    raise empty_file(path)


def read_delimited(
    path: Path,
    separator: str,
    names: Sequence[str],
    *,
    has_header: bool,
    encoding: str = "utf-8",
    on_progress: OnProgress | None = None,
) -> Iterator[Table]:
    """Reads a file in blocks of some megabytes. Blank lines are skipped.

    Args:
        path: the file, plain or gzipped.
        separator: separator of fields, of any length; quotes have no meaning.
        names: names of the columns, in the order of the file.
        has_header: whether the first line that is not blank is a header.
        encoding: encoding of the texts.
        on_progress: see `read_blocks`.

    Raises:
        ValueError: if there are no rows, or if a line has another number of fields or is not in
            `encoding`; the message names the line.
    """
    is_header_next, has_rows = has_header, False
    for block in read_blocks(path, on_progress):
        numbered = list(block.lines())
        if is_header_next and numbered:
            numbered, is_header_next = numbered[1:], False
        if not numbered:
            continue
        has_rows = True
        places = [line for line, _ in numbered]
        texts = _decoded(path, numbered, encoding)
        fields = pl.Series(texts, dtype=pl.String).str.split(separator)
        lengths = fields.list.len()
        is_wrong = lengths != len(names)
        if is_wrong.any():
            row = is_wrong.arg_max()
            assert row is not None
            raise ValueError(
                f"{path}, line {places[row]}: {lengths[row]} fields where {len(names)} are "
                f"expected ({listed(names)}); the line may be cut off."
            )
        frame = pl.DataFrame([fields.list.get(i).alias(name) for i, name in enumerate(names)])
        yield Table(path=path, frame=frame, place_of=_Places(tuple(places)))
    if not has_rows:
        raise ValueError(f"{path}: there are no rows in it; get it again from its source.")


@dataclass(frozen=True, slots=True)
class _Places:
    """Places of the rows of one block. A closure would name the lines of the next block."""

    lines: tuple[int, ...]

    def __call__(self, row: int) -> str:
        return f"line {self.lines[row]}"


def _decoded(path: Path, numbered: list[tuple[int, bytes]], encoding: str) -> list[str]:
    try:
        return (
            b"\n".join(data.removesuffix(b"\r") for _, data in numbered)
            .decode(encoding)
            .split("\n")
        )
    except UnicodeDecodeError:
        for line, data in numbered:
            try:
                data.decode(encoding)
            except UnicodeDecodeError as error:
                raise not_utf8(f"{path}, line {line}", error.reason) from None
        raise
