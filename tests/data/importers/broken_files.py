"""Broken data files, drawn from a seed, and the check of how importers treat them."""

import gzip
import random
import re
from pathlib import Path

from sidestep.data.dataset import Dataset

from .formats import Format, dataset_of, gzipped

STRANGE = [
    *(b"null", b"true", b"-1", b"0", b"1.5", b"1e999", b"NaN", b"9" * 40, b'""', b'"x"', b"x"),
    *(b"[]", b"{}", b"[1]", b'["a", 1]', b"[[[]]]", b"{'a': 1}", b"[" * 3000, b"{'a':" * 300),
    *(b"\x00", b"\xff", b"\xe9", b"\xed\xa0\x80", b'"\\ud800"', b"'\\ud800'", b"\xef\xbb\xbf"),
    *(b"\r", b"\r\n", b"\n", b"\n\n", b" ", b"\t", b",", b"::", b"|", b'"', b"'", b"\\", b"\x1f"),
    *(b"2024-02-31", b"99999-01-01", b"0x10", b"1_000", b"\xd9\xa3", b"inf", b"-", b"1e308"),
    *(b"x" * 140_000, b'"' + b"y" * 140_000 + b'"', b"1 " * 5000, b"9" * 5000),
]
"""Values of the wrong kind; some are longer than the csv module allows."""

_VALUE = re.compile(rb'"[^"\n]*"|\'[^\'\n]*\'|[^\s,:|"\'{}\[\]]+')


def check_broken(source: Format, folder: Path, seed: int) -> str | None:
    """Breaks one file of a source, imports and saves it as the command does.

    Returns:
        The message of the refusal; None if the broken file is legal after all.

    Raises:
        AssertionError: if the refusal does not name a file, or something half-written stays.
        Exception: anything but the `ValueError` of a refusal.
    """
    draw = random.Random(seed)
    name = draw.choice(sorted(source.files))
    source.write(folder)
    (folder / name).write_bytes(broken_file(source.files[name], draw))
    out = folder / "dataset"
    try:
        dataset_of(source.import_from(folder)).save(out)
    except ValueError as error:
        message = str(error)
        folders = {Path(file).parent.name for file in source.files} - {""}
        whole = {name for name in folders if "." in name}  # one table in parts
        assert any(file in message for file in [*source.files, *whole]), message
        assert len(message) < 2000, message[:300]
        left = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        assert sorted(map(str, left)) == sorted(source.files)
        return message
    Dataset.load(out)
    return None


def broken_file(data: bytes, draw: random.Random) -> bytes:
    """A valid file with one to three changes: within the gzip, to the gzip itself, or both."""
    is_gzipped = data.startswith(b"\x1f\x8b")
    if is_gzipped and draw.random() < 0.7:
        data = gzip.decompress(data)
        for _ in range(draw.randint(1, 3)):
            data = draw.choice(_WAYS)(data, draw)
        data = gzipped(data)
        if draw.random() < 0.8:
            return data
    if is_gzipped:
        return draw.choice(_GZIP_WAYS)(data, draw)
    for _ in range(draw.randint(1, 3)):
        data = draw.choice(_WAYS)(data, draw)
    return data


def _other_bytes(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4) if data else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut_off(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randint(0, len(data))]


def _without_a_part(data: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(data))
    return data[:at] + data[at + draw.randint(1, 40) :]


def _something_more(data: bytes, draw: random.Random) -> bytes:
    at = draw.choice([0, len(data), draw.randint(0, len(data))])
    return data[:at] + draw.choice(STRANGE) + data[at:]


def _another_value(data: bytes, draw: random.Random) -> bytes:
    values = list(_VALUE.finditer(data))
    if not values:
        return data
    value = draw.choice(values)
    other = draw.choice([*STRANGE, draw.choice(values).group()])
    return data[: value.start()] + other + data[value.end() :]


def _lines_moved(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    line = lines.pop(at)
    for _ in range(draw.choice([0, 1, 2])):
        lines.insert(draw.randint(0, len(lines)), line)
    return b"\n".join(lines)


def _another_encoding(data: bytes, draw: random.Random) -> bytes:
    text = data.decode("latin-1")
    return text.encode(draw.choice(["utf-16", "utf-16-le", "utf-8", "utf-8-sig", "utf-32"]))


def _other_line_ends(data: bytes, draw: random.Random) -> bytes:
    return data.replace(b"\n", draw.choice([b"\r\n", b"\r", b"\n\n", b" \n", b""]))


def _nothing(data: bytes, draw: random.Random) -> bytes:
    return draw.choice([b"", b"\n", b"  \n \n", b"\x00" * 100, b"\xef\xbb\xbf"])


def _twice(data: bytes, draw: random.Random) -> bytes:
    return data + draw.choice([data, data[: len(data) // 2]])


def _within_a_list(data: bytes, draw: random.Random) -> bytes:
    return b"[" + data.replace(b"\n", b",\n") + b"]"


def _gzipped_again(data: bytes, draw: random.Random) -> bytes:
    return gzipped(data)


_WAYS = [
    *(_other_bytes, _other_bytes, _cut_off, _without_a_part, _something_more, _something_more),
    *(_another_value, _another_value, _another_value, _lines_moved, _another_encoding),
    *(_other_line_ends, _nothing, _twice, _within_a_list),
]
_GZIP_WAYS = [_other_bytes, _cut_off, _without_a_part, _twice, _gzipped_again, _something_more]
