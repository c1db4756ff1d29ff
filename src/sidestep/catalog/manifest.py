"""The manifest of a saved catalog: what the folder holds, and which versions of it can be read."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeGuard

from pydantic import BaseModel, ConfigDict, ValidationError

from sidestep.files import file_sha256, read_json, refuse_link_outside

SCHEMA_VERSION = 3
"""Version 2 added tombstones and the parent, version 3 the code space; an older catalog is read as
one without them, which spans a trie."""

FORMAT: Literal["sidestep.catalog"] = "sidestep.catalog"
MANIFEST = "manifest.json"


class StoredFile(BaseModel):
    """State of a file when it was written."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class CatalogManifest(BaseModel):
    """Description of a saved catalog; see `Catalog` for the fields that have the same name.

    space: the name or the import path of the code space; None is the trie.
    files: those of the catalog itself by name, its companions left out.
    companions: the files that the tokenizer and the embedding left beside them, by name; older
        catalogs do not say.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["sidestep.catalog"] = FORMAT
    schema_version: int = SCHEMA_VERSION
    version: str
    parent_version: str | None = None
    num_items: int
    codebook_sizes: tuple[int, ...]
    space: str | None = None
    files: dict[str, StoredFile]
    companions: dict[str, StoredFile] = {}


def is_catalog(folder: Path) -> bool:
    """Whether a catalog, of whatever version, was saved there."""
    file = folder / MANIFEST
    return file.is_file() and _has_format(read_json(file))


def read_manifest(folder: Path) -> CatalogManifest:
    """Description that `Catalog.save` wrote of a catalog.

    Raises:
        FileNotFoundError: there is no catalog.
        ValueError: it is none that this version can read, or its manifest is damaged.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder}: no catalog here, {MANIFEST} is missing; tokenize first."
        )
    manifest = read_json(file)
    if not _has_format(manifest):
        raise ValueError(f"{file}: not the manifest of a catalog.")
    version = manifest.get("schema_version")
    if version not in range(1, SCHEMA_VERSION + 1):
        raise ValueError(
            f"{file}: schema version {version}; this version of Sidestep reads 1 to "
            f"{SCHEMA_VERSION}. Install a newer Sidestep, or tokenize again."
        )
    try:
        return CatalogManifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}; tokenize again."
        ) from error


def described_files(folder: Path) -> dict[str, StoredFile]:
    """Size and hash of every file of a folder, for its manifest."""
    return {
        file.name: StoredFile(bytes=file.stat().st_size, sha256=file_sha256(file))
        for file in sorted(folder.iterdir())
    }


def check_names(
    folder: Path, names: Collection[str], *, required: Collection[str], possible: Collection[str]
) -> None:
    """Holds the names that a manifest lists against those that a catalog has.

    Raises:
        ValueError: a file is not listed without which there is no catalog, or one is that no
            catalog holds.
    """
    file = folder / MANIFEST
    for name in required:
        if name not in names:
            raise ValueError(
                f"{file}: does not list {name}, without which there is no catalog; tokenize again."
            )
    for name in names:
        if name not in possible:
            raise ValueError(f"{file}: lists {name!r}, which no catalog holds; tokenize again.")


def check_files(folder: Path, files: Mapping[str, StoredFile], *, verify: bool) -> None:
    """Compares files with their description; the hashes only if `verify`.

    Raises:
        FileNotFoundError: one is gone.
        ValueError: one has changed.
    """
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing from the catalog; tokenize again.")
        refuse_link_outside(file, folder)
        size = file.stat().st_size
        if size != expected.bytes:
            raise ValueError(
                f"{file}: {size} bytes instead of {expected.bytes}, the file is damaged; "
                "tokenize again."
            )
        if verify and file_sha256(file) != expected.sha256:
            raise ValueError(f"{file}: its hash has changed, the file is damaged; tokenize again.")


def _has_format(manifest: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT
