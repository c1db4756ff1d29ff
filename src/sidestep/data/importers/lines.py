"""Lines: text files larger than memory, plain or gzipped, read in blocks of whole lines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from sidestep.data.importers.sources import DAMAGES, damaged_gzip, empty_file, unpacked

BLOCK_SIZE = 1 << 23
"""Number of unpacked bytes that are read at a time."""
LONGEST_LINE = 1 << 27
"""Largest number of bytes of a line; a longer line is taken for damage."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Reading:
    """Progress of reading a file.

    bytes_read, bytes_total: bytes of the file on the disk, compressed if the file is.
    num_lines: number of whole lines so far.
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
        """Yields the lines that are not blank, with their numbers and without their ends."""
        for line, data in enumerate(self.data.split(b"\n"), start=self.first_line):
            if data and not data.isspace():
                yield line, data

    def place(self, line: int) -> str:
        """Names the file and the line, for errors."""
        return f"{self.path}, line {line}"


def read_blocks(path: Path, on_progress: OnProgress | None = None) -> Iterator[Block]:
    """Reads a file in blocks of some megabytes. Its first bytes tell whether it is gzipped.

    Lines end in a line feed, with or without a carriage return before it. In files of old programs
    they may end in a carriage return alone.

    Args:
        path: the file.
        on_progress: called after each block was processed.

    Raises:
        ValueError: if the file is empty, packed in another way, cut off or damaged; the message
            names the last line that could be read.
    """
    bytes_total = path.stat().st_size
    line, rest = 1, b""
    ends_in_cr = None
    with path.open("rb") as raw:
        file = unpacked(path, raw)
        while data := _read(path, file, line):
            if line == 1 and not rest:
                data = data.removeprefix(_BYTE_ORDER_MARK)
            if ends_in_cr is None and (b"\n" in data or b"\r" in data.rstrip(b"\r")):
                ends_in_cr = b"\n" not in data
            if ends_in_cr:
                data = data.replace(b"\r", b"\n")
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


def _read(path: Path, file: BufferedIOBase, line: int) -> bytes:
    try:
        return file.read(BLOCK_SIZE)
    except DAMAGES as error:
        raise damaged_gzip(f"{path}, from line {line} on", error) from None


def _refuse_endless(path: Path, line: int, rest: bytes) -> None:
    if len(rest) > LONGEST_LINE:
        raise ValueError(
            f"{path}, line {line}: longer than {LONGEST_LINE >> 20} MB; a file of one record per "
            "line is expected. If it is one large JSON array, write one object per line instead."
        )
