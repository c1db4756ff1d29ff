"""Lines: text files larger than memory, plain or gzipped, read a block of whole lines at a time."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import NoReturn

from sidestep.data.importers.sources import empty_file

BLOCK_SIZE = 1 << 23
"""Bytes, unpacked, that are read at a time."""
LONGEST_LINE = 1 << 27
"""Bytes; a longer line is taken for damage and not for data."""

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a file has been read.

    bytes_read, bytes_total: of the file as it lies on the disk, compressed if it is.
    num_lines: whole lines so far.
    """

    path: Path
    bytes_read: int
    bytes_total: int
    num_lines: int


OnProgress = Callable[[Reading], None]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file.

    first_line: the number of its first line, counted from 1.
    data: the lines with their ends; the last line of a file may have none.
    """

    path: Path
    first_line: int
    data: bytes

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines that are not blank, with their numbers and without their ends."""
        for line, data in enumerate(self.data.split(b"\n"), start=self.first_line):
            if data and not data.isspace():
                yield line, data

    def place(self, line: int) -> str:
        """The file and the line, for errors."""
        return f"{self.path}, line {line}"


def read_blocks(path: Path, on_progress: OnProgress | None = None) -> Iterator[Block]:
    """Reads a file in blocks of some megabytes; its first bytes say whether it is gzipped.

    Args:
        path: the file.
        on_progress: called after each block was dealt with.

    Raises:
        ValueError: if the file is empty, packed otherwise, cut off or damaged, with the last line
            that could be read.
    """
    bytes_total = path.stat().st_size
    line, rest = 1, b""
    with path.open("rb") as raw:
        file = _unpacked(path, raw)
        while data := _read(path, file, line):
            if line == 1 and not rest:
                data = data.removeprefix(_BYTE_ORDER_MARK)
            end = data.rfind(b"\n") + 1
            if not end:
                rest += data
                _refuse_endless(path, line, rest)
                continue
            block = Block(path, line, rest + data[:end])
            rest = data[end:]
            yield block
            line += block.data.count(b"\n")
            if on_progress is not None:
                on_progress(Reading(path, raw.tell(), bytes_total, line - 1))
    if rest:
        yield Block(path, line, rest)
        line += 1
    if line == 1:
        raise empty_file(path)
    if on_progress is not None:
        on_progress(Reading(path, bytes_total, bytes_total, line - 1))


def _unpacked(path: Path, raw: BufferedIOBase) -> BufferedIOBase:
    start = raw.read(8)
    raw.seek(0)
    for magic, kind in _OTHERS.items():
        if start.startswith(magic):
            raise ValueError(
                f"{path}: this is {kind}; convert it to plain UTF-8 text, gzipped or not."
            )
    if start.startswith(_GZIP):
        return gzip.GzipFile(fileobj=raw)
    return raw


def _read(path: Path, file: BufferedIOBase, line: int) -> bytes:
    try:
        return file.read(BLOCK_SIZE)
    except EOFError:
        _refuse(path, line, "the gzipped file is cut off")
    except (zlib.error, gzip.BadGzipFile) as error:
        _refuse(path, line, f"the gzipped file is damaged ({error})")


def _refuse(path: Path, line: int, what: str) -> NoReturn:
    raise ValueError(
        f"{path}, from line {line} on: {what}; get it again from its source."
    ) from None


def _refuse_endless(path: Path, line: int, rest: bytes) -> None:
    if len(rest) > LONGEST_LINE:
        raise ValueError(
            f"{path}, line {line}: longer than {LONGEST_LINE >> 20} MB; a file of one record per "
            "line is expected. If it is one large JSON array, write one object per line instead."
        )
