"""Files that are whole or absent: everything is written beside its place and then moved there.

What stops a disk from being written is told with the path and what to do, whichever library wrote.
"""

import errno
import fnmatch
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:\n]')

UNWRITABLE = {
    errno.ENOSPC: "the disk is full; free some space, and the same command continues.",
    errno.EDQUOT: "the quota of disk space is used up; free some space, and the same command "
    "continues.",
    errno.EROFS: "the disk can only be read; write to another place.",
    errno.EFBIG: "the file is larger than its disk or the limit 'ulimit -f' allows; write to "
    "another place, or raise the limit.",
}
"""Problems of writing with their remedies, by the error number of the operating system."""

_DENIED = "writing is not permitted here; change the permissions, or write to another place."

_SHORT = re.compile(r"\d+ requested and \d+ written|inline_container\.cc.*unexpected pos")
"""Messages of numpy and torch after the disk took fewer bytes than they wrote."""


class UnwritableError(OSError):
    """A file or folder that could not be written, and what to do about it.

    number: of the operating system, such as `errno.ENOSPC`.
    """

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(f"{path}: {UNWRITABLE.get(number, _DENIED)}")
        self.number = number


@contextmanager
def told_unwritable(path: Path) -> Iterator[None]:
    """Says what keeps the block from writing `path`, and what to do.

    Raises:
        UnwritableError: the disk is full or may not be written to. Other errors pass.
    """
    try:
        yield
    except Exception as error:
        number = unwritable_number(error)
        if isinstance(error, PermissionError) and _is_about(error.filename, path):
            number = error.errno
        if number is None:
            raise
        raise UnwritableError(path, number) from error


def unwritable_number(error: BaseException | None) -> int | None:
    """The number of `UNWRITABLE` behind an error, whichever library raised it; None for others."""
    while error is not None:
        if isinstance(error, UnwritableError):
            return error.number
        found = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else None
        for known in (number, int(found[1]) if found else None):
            if known in UNWRITABLE:
                return known
        if _SHORT.search(str(error)):
            return errno.ENOSPC
        error = error.__cause__ or error.__context__
    return None


def _is_about(name: str | None, path: Path) -> bool:
    """Whether a path of an error is on the way to `path`, or beside it as temporary files are."""
    at = None if name is None else Path(name).absolute()
    place = path.absolute()
    return at is None or at.is_relative_to(place.parent) or place.is_relative_to(at)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; moves it to `path` if the block succeeds.

    Whatever the block raises, an older file at `path` stays as it was and nothing else remains.

    Raises:
        UnwritableError: the disk is full or may not be written to.
    """
    with told_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; moves it to `path` if the block succeeds.

    An older folder at `path` is replaced at that moment and not before, whatever it holds; see
    `check_replaceable`.

    Raises:
        UnwritableError: the disk is full or may not be written to.
    """
    with told_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        replaced = temporary.with_name(f"{temporary.name}.replaced")
        try:
            yield temporary
            temporary.chmod(0o755)
            if path.exists():
                path.rename(replaced)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if replaced.exists() and not path.exists():
                replaced.rename(path)
            shutil.rmtree(replaced, ignore_errors=True)


def check_replaceable(
    path: Path, what: str, is_own: Callable[[Path], bool], contents: Sequence[str]
) -> None:
    """Refuses to put a folder where something of somebody else stands, such as a mistyped path.

    Args:
        path: where the folder is to go; it may be absent or empty.
        what: the folder holds, for the error: "a catalog".
        is_own: whether an older folder is one of these.
        contents: patterns of the names that such a folder holds; whatever else lies in it was put
            there by the user and would be lost.

    Raises:
        ValueError: a file, another folder or something more stands there; it stays as it is.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"{path}: exists and is a file; choose another folder.")
    entries = sorted(entry.name for entry in path.iterdir())
    if entries and not is_own(path):
        raise ValueError(f"{path}: exists and is not {what}; choose another folder.")
    for name in entries:
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in contents):
            raise ValueError(
                f"{path}: holds {name}, which is no part of {what} and would be lost; move it away "
                "or choose another folder."
            )


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_link_outside(file: Path, folder: Path) -> None:
    """Raises a `ValueError` where a file of a folder is a link that leads out of the folder."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{file}: is a link that leads out of {folder}; put the file itself in its place."
        )


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented UTF-8 JSON, whole or not at all."""
    with whole_file(path) as temporary:
        text = json.dumps(value, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads JSON; a mistake in it is a `ValueError` that names the file and the line.

    A key that stands twice in one object is such a mistake: the second would win in silence.
    """
    try:
        text = path.read_text(encoding="utf-8")
        pairs = KeyCheck()
        value = json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON ({error.msg})."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start})."
        ) from error
    if pairs.has_repeated:
        raise repeated_key(text, path)
    return value


class KeyCheck:
    """The `object_pairs_hook` of a JSON reader that remembers whether any key stood twice."""

    def __init__(self) -> None:
        self.has_repeated = False

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """The object of the pairs."""
        entries = dict(pairs)
        self.has_repeated |= len(entries) < len(pairs)
        return entries


class JsonKey(NamedTuple):
    """A key of a JSON text.

    depth: the brackets around it.
    first_line: where it stood before in the same object; None where it did not.
    """

    name: str
    depth: int
    line: int
    first_line: int | None


def json_keys(text: str) -> Iterator[JsonKey]:
    """The keys of a valid JSON text with their lines; slow, for errors only."""
    line = 1
    scopes: list[dict[str, int]] = []
    string = ""
    for match in _JSON_TOKEN.finditer(text):
        token = match.group()
        if token == "\n":
            line += 1
        elif token in "{[":
            scopes.append({})
        elif token in "}]":
            scopes.pop()
        elif token == ":":
            name = json.loads(string)
            yield JsonKey(name, len(scopes), line, scopes[-1].get(name))
            scopes[-1].setdefault(name, line)
        else:
            string = token


def repeated_key(text: str, path: Path, *, lines_before: int = 0) -> ValueError:
    """The error of a JSON text in which a key stands twice in one object.

    Args:
        text: valid JSON.
        path: its file.
        lines_before: those of the file that stand before the text.
    """
    key = next(key for key in json_keys(text) if key.first_line is not None)
    assert key.first_line is not None
    return ValueError(
        f"{path}, line {lines_before + key.line}: the key {key.name!r:.60} stands twice in one "
        f"object, first in line {lines_before + key.first_line}; remove or rename one of them."
    )


def read_utf8(path: Path) -> str:
    """The text of a file, with or without a byte order mark.

    Raises:
        ValueError: the file is in another encoding; says where.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error
