"""Item texts in JSON: item -> {field: text} or item -> [term, ...]; cleaning of web texts."""

import html
import json
import re
from pathlib import Path
from typing import Any

import polars as pl

from sidestep.data.importers.ids import first_repeat
from sidestep.data.importers.sources import JsonObject, read_json_object, read_text
from sidestep.data.items import ItemTable


def read_item_texts(path: Path) -> ItemTable:
    """Reads `*.item.json` or `*.terms.json`; the values tell which of the two it is.

    Fields become columns in the order in which they first appear; an item without a field has
    null there. Terms become one column "terms", joined by ", ". If all IDs are whole numbers, items
    are ordered by number, so that an item's index follows its ID. Otherwise items are in the order
    of the file.

    Raises:
        ValueError: if an entry holds neither fields nor terms, or if the file mixes the two.
    """
    source = read_json_object(path)
    first = next(iter(source.value.values()))
    if not isinstance(first, dict | list):
        raise ValueError(
            f"{source.place(next(iter(source.value)))}: must be an object of texts or a list of "
            f"terms, got {type(first).__name__}."
        )
    rows = [
        _row(source, item_id, entry, type(first))
        for item_id, entry in in_catalog_order(source.value).items()
    ]
    columns = dict.fromkeys(name for row in rows for name in row)
    frame = pl.DataFrame(
        {name: pl.Series([row.get(name) for row in rows], dtype=pl.String) for name in columns}
    )
    return ItemTable(frame)


def are_item_texts(path: Path) -> bool:
    """Tells whether a .json file is one object with an entry per item, rather than a table.

    A table in JSON is an array of objects, or one object per line, with simple values. If a file is
    neither, the result is such that `read_item_texts` raises the error.
    """
    if ".json" not in path.suffixes[-2:]:
        return False
    text = read_text(path).lstrip()
    if text.startswith("["):
        return False
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return True
    if text[end:].strip() or not isinstance(value, dict) or not value:
        return not text[end:].strip()
    return isinstance(next(iter(value.values())), dict | list)


def in_catalog_order(entries: dict[str, Any]) -> dict[str, Any]:
    """Sorts entries by number if every key is a whole number; otherwise keeps their order."""
    if not all(key.isascii() and key.isdecimal() for key in entries):
        return entries
    return {key: entries[key] for key in sorted(entries, key=lambda key: (len(key), key))}


def as_text(value: Any) -> str | None:
    """Makes one text of a text, a number or a list of these; None for null.

    Raises:
        TypeError: the value is anything else.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return ", ".join(text for text in map(as_text, value) if text)
    raise TypeError(f"must be text or a list of texts, got {type(value).__name__}")


def refuse_repeated(path: Path, ids: pl.Series, what: str = "item") -> None:
    """Refuses two rows with the same ID, because nothing tells which of the two is right.

    Args:
        path: the file, for the message.
        ids: IDs of the rows.
        what: what a row describes, such as "item".
    """
    if repeat := first_repeat(ids):
        first, row = repeat
        raise ValueError(
            f"{path}: {what} {ids[row]!r:.60} stands twice, in its rows {first + 1} and "
            f"{row + 1}; remove one of the two lines."
        )


_SCRIPT = re.compile(r"<(script|style)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->", re.DOTALL)


def plain_text(text: str) -> str | None:
    """Turns a text from a web page into the text that people read there; None if nothing is left.

    HTML entities become characters (shops escape them once or twice), tags are removed, and every
    run of blanks or line ends becomes one blank.
    """
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        text = _TAG.sub(" ", _SCRIPT.sub(" ", text))
    return " ".join(text.replace("\0", " ").split()) or None


def _row(source: JsonObject, item_id: str, entry: Any, kind: type) -> dict[str, str | None]:
    if not item_id:
        raise ValueError(f"{source.place(item_id)}: the item ID is empty.")
    if not isinstance(entry, kind):
        raise ValueError(
            f"{source.place(item_id)}: a {type(entry).__name__}, where the entries before it are "
            f"each a {kind.__name__}; one file holds either fields or terms."
        )
    fields = entry if isinstance(entry, dict) else {"terms": entry}
    if "item_id" in fields:
        raise ValueError(f"{source.place(item_id)}: rename the field 'item_id'; the key says it.")
    row: dict[str, str | None] = {"item_id": item_id}
    for name, value in fields.items():
        try:
            row[name] = as_text(value)
        except TypeError as error:
            raise ValueError(f"{source.place(item_id)}: {name!r:.60} {error}.") from error
    return row
