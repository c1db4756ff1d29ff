"""Items that a text names: an option, or a file with an ID per line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sidestep.data.names import split_names, unquoted_name
from sidestep.files import read_utf8
from sidestep.lazy_imports import imported_when_used
from sidestep.padding import NO_ITEM

with imported_when_used():
    from sidestep.catalog import catalog as catalogs


def named_items(values: Sequence[str], catalog: catalogs.Catalog) -> list[str]:
    """The item IDs that texts name, see `split_names`; the catalog may lack some."""
    return split_names(values, lambda item_id: catalog.indices_of([item_id])[0] != NO_ITEM)


def read_ids(path: Path, catalog: catalogs.Catalog) -> list[str]:
    """Item IDs from a text file, one per line; empty lines are left out.

    An ID with blanks around it is read as it stands if the catalog has it, or in double quotes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no UTF-8 text, or holds no ID.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file of item IDs.")
    text = read_utf8(path)
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"{path}: there is no item ID in it; write one per line.")
    is_known = catalog.indices_of(lines) != NO_ITEM
    return [
        line if known else unquoted_name(line.strip())
        for line, known in zip(lines, is_known, strict=True)
    ]
