"""Sources: files from elsewhere, read so that every error names the file and the line."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.files import KeyCheck, file_sha256, json_keys, repeated_key


def sha256_of(*paths: Path | None) -> dict[str, str]:
    """The SHA-256 of every file, by file name; None is skipped."""
    return {path.name: file_sha256(path) for path in paths if path is not None}


def listed(names: Iterable[str]) -> str:
    """Names for an error, however many and long a damaged file has them."""
    short = [name if len(name) <= 40 else f"{name[:40]}…" for name in names]
    return f"{short}" if len(short) <= 30 else f"{short[:30]} and {len(short) - 30} more"


def empty_file(path: Path) -> ValueError:
    """The error of a file without anything but blank lines."""
    return ValueError(f"{path}: the file is empty; get it again from its source.")


def not_utf8(place: str, reason: str) -> ValueError:
    """The error of a text in another encoding."""
    return ValueError(
        f"{place}: not UTF-8 text ({reason}); convert the file, for example with iconv -f latin1 "
        "-t utf-8."
    )


def read_text(path: Path) -> str:
    """Reads UTF-8 text, with or without a byte order mark.

    Raises:
        ValueError: if the file is empty or in another encoding.
    """
    data = path.read_bytes()
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
    text: what it was parsed from, for the lines in errors.
    """

    path: Path
    value: dict[str, Any]
    text: str

    def place(self, name: str) -> str:
        """Where the entry `name` of the object stands, for errors; searches the text."""
        for key in json_keys(self.text):
            if key.depth == 1 and key.name == name:
                return f"{self.path}, line {key.line}, entry {name!r:.60}"
        return f"{self.path}, entry {name!r:.60}"


def read_json_object(path: Path) -> JsonObject:
    """Reads a JSON file whose outermost value is an object with at least one entry.

    Raises:
        ValueError: if it is anything else, or if any object in it has a key twice; JSON readers
            would keep the second and lose the first in silence.
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
        ValueError: with the file and the line.
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
