"""Sources: files from elsewhere, read so that every error names the file and the line."""

import gzip
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from sidestep.files import KeyCheck, file_sha256, json_keys, repeated_key

DAMAGES = (EOFError, zlib.error, gzip.BadGzipFile)
"""Errors of gzipped data that cannot be unpacked."""

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


def sha256_of(*paths: Path | None) -> dict[str, str]:
    """SHA-256 of every file, by file name. A folder gives those of its parts; None is skipped.

    A pattern gives the names that its folder would give.
    """
    return {
        part.relative_to((folder_of(path) or path).parent).as_posix(): file_sha256(part)
        for path in paths
        if path is not None
        for part in parts_of(path)
    }


def parts_of(path: Path) -> list[Path]:
    """Files of a table: the file itself, or the parts in its folder, ordered by their names.

    A pattern, such as "log/*.parquet", names the parts in a folder.

    Spark and other programs write a table as a folder. Files whose names begin with "_" or "." are
    marks of such a program and are skipped.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ValueError: there is no file in the folder.
    """
    folder = folder_of(path)
    if folder is None:
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file.")
        return [path]
    found = folder.rglob("*") if path == folder else folder.glob(str(path.relative_to(folder)))
    parts = [
        part
        for part in sorted({*found})
        if part.is_file()
        and not any(name.startswith(("_", ".")) for name in part.relative_to(folder).parts)
    ]
    if not parts and path != folder:
        raise FileNotFoundError(f"{path}: no file has such a name.")
    if not parts:
        raise ValueError(f"{path}: there is no file in this folder; name a table or its folder.")
    return parts


def folder_of(path: Path) -> Path | None:
    """The folder that holds the parts of a table; None if the path is one file or nothing.

    Of a pattern, such as "log/*/part-?.parquet", it is the folder before the first wildcard.
    """
    if path.is_dir():
        return path
    if path.exists():
        return None
    names = path.parts
    wild = [i for i, name in enumerate(names) if any(sign in name for sign in "*?[")]
    return Path(*names[: wild[0]]) if wild else None


def unpacked(path: Path, raw: BufferedIOBase) -> BufferedIOBase:
    """Unpacks a file if its first bytes show that it is gzipped; otherwise returns it unchanged.

    Reading the result may raise one of `DAMAGES`, see `damaged_gzip`.

    Args:
        path: path of the file, for errors.
        raw: the file, opened at its start.

    Raises:
        ValueError: if the file is packed in another way, or is UTF-16 text.
    """
    start = raw.read(8)
    raw.seek(0)
    for magic, kind in _OTHERS.items():
        if start.startswith(magic):
            raise ValueError(
                f"{path}: this is {kind}; convert it to plain UTF-8 text, gzipped or not."
            )
    return gzip.GzipFile(fileobj=raw) if start.startswith(_GZIP) else raw


def damaged_gzip(place: str, error: Exception) -> ValueError:
    """Makes the error to show for one of `DAMAGES`."""
    what = "is cut off" if isinstance(error, EOFError) else f"is damaged ({error})"
    return ValueError(f"{place}: the gzipped file {what}; get it again from its source.")


def listed(names: Iterable[str]) -> str:
    """Lists names for an error. Long names and long lists, as of a damaged file, are cut."""
    short = [name if len(name) <= 40 else f"{name[:40]}…" for name in names]
    return f"{short}" if len(short) <= 30 else f"{short[:30]} and {len(short) - 30} more"


def empty_file(path: Path) -> ValueError:
    """Makes the error of a file that holds nothing but blank lines."""
    return ValueError(f"{path}: the file is empty; get it again from its source.")


def not_utf8(place: str, reason: str) -> ValueError:
    """Makes the error of a text in another encoding."""
    return ValueError(
        f"{place}: not UTF-8 text ({reason}); convert the file, for example with iconv -f latin1 "
        "-t utf-8."
    )


def read_text(path: Path) -> str:
    """Reads UTF-8 text, with or without a byte order mark.

    Raises:
        ValueError: if the file is empty or in another encoding.
    """
    try:
        with path.open("rb") as raw:
            data = unpacked(path, raw).read()
    except DAMAGES as error:
        raise damaged_gzip(f"{path}", error) from error
    if not data.strip():
        raise empty_file(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise not_utf8(f"{path}, line {line}", error.reason) from error


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON file that holds one object.

    value: the object.
    text: the text that was parsed, to find lines for errors.
    """

    path: Path
    value: dict[str, Any]
    text: str

    def place(self, name: str) -> str:
        """Place of the entry `name` of the object, for errors. It is searched in the text."""
        for key in json_keys(self.text):
            if key.depth == 1 and key.name == name:
                return f"{self.path}, line {key.line}, entry {name!r:.60}"
        return f"{self.path}, entry {name!r:.60}"


def read_json_object(path: Path) -> JsonObject:
    """Reads a JSON file whose outermost value is an object with at least one entry.

    Raises:
        ValueError: if the file is anything else, or if an object in it has a key twice. Other JSON
            readers keep the second value of such a key and lose the first without an error.
    """
    text = read_text(path)
    value = parse_json(text, path, first_line=1)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must hold a JSON object, not a {type(value).__name__}.")
    if not value:
        raise ValueError(f"{path}: the object in it is empty; get the file again.")
    return JsonObject(path, value, text)


def parse_json(text: str, path: Path, *, first_line: int) -> Any:
    """Parses JSON strictly: no key twice, no NaN.

    Raises:
        ValueError: the text is not such JSON; the message names the file and the line.
    """
    pairs = KeyCheck()

    def refused(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refused)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        is_cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        remedy = "it seems to be cut off, get it again" if is_cut else "correct that line"
        raise ValueError(
            f"{path}, line {line}, column {error.colno}: not valid JSON ({error.msg}); {remedy}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, from line {first_line}: not valid JSON ({error}).") from error
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{path}, from line {first_line}: a text holds half of a character ({error.reason})"
                "; correct or remove the \\ud... in it."
            ) from error
    if pairs.has_repeated:
        raise repeated_key(text, path, lines_before=first_line - 1)
    return value
