"""Amazon review dumps of 2014, 2018 and 2023: one JSON object per line, usually gzipped.

2014: McAuley et al., "Image-based recommendations on styles and substitutes", SIGIR 2015.
2018: Ni et al., "Justifying recommendations using distantly-labeled reviews", EMNLP 2019.
2023: Hou et al., "Bridging language and items for retrieval and recommendation", 2024.

The times of 2014 and 2018 are whole days in seconds, so ties are common. The times of 2023 are
milliseconds. The import does not change times.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from sidestep.data.importers.imported import Imported, imported
from sidestep.data.importers.item_texts import plain_text
from sidestep.data.importers.json_lines import Objects, read_objects
from sidestep.data.importers.lines import OnProgress
from sidestep.data.importers.log import GrowingLog, Log, Thinning
from sidestep.data.importers.sources import listed

Year = Literal["auto", "2014", "2018", "2023"]

_KEYS_OF = {
    "title": ("title",),
    "brand": ("brand", "store"),
    "categories": ("categories", "category"),
    "features": ("features", "feature"),
    "description": ("description",),
}
"""Fields of the metadata that are kept, with one name for all years; `brand` is 2023's store."""

_SEPARATOR_OF = {"categories": ", "}
_DEEPEST = 3
"""Depth of lists within lists: the inner lists of 2014 hold one path of categories each."""
_SCRIPT_TITLE = "getTime()"
"""Mark of titles of 2018 that are scripts of the page. The authors advise to drop these titles."""
_LITERAL_ITEM = re.compile(rb"\{'asin': '([^'\\]*)'")
"""Start of a line of 2014. Python literals are slow to read, so only needed lines are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """The keys of a year's reviews and metadata.

    items: keys of the item ID, in the order in which they are tried. Products of 2023 are sizes or
        colours of a parent, so the ID of the parent comes first.
    """

    user: str
    items: tuple[str, ...]
    time: str
    value: str


_OLD = _Form(user="reviewerID", items=("asin",), time="unixReviewTime", value="overall")
_NEW = _Form(user="user_id", items=("parent_asin", "asin"), time="timestamp", value="rating")
_FORMS = {"2014": _OLD, "2018": _OLD, "2023": _NEW}


def import_amazon(
    reviews_path: Path,
    meta_path: Path | None = None,
    *,
    year: Year = "auto",
    thinning: Thinning = Thinning(),  # noqa: B008 - frozen
    name: str | None = None,
    on_progress: OnProgress | None = None,
) -> Imported:
    """Imports reviews, and the metadata of the items that are kept.

    Memory grows with the number of reviews, at some tens of bytes each, and with the number of
    users and items. It does not grow with the texts of the reviews or the metadata of other items.

    Args:
        reviews_path: file of reviews such as `reviews_Beauty_5.json.gz`, `All_Beauty.json.gz` or
            `All_Beauty.jsonl.gz`, gzipped or not.
        meta_path: file of metadata such as `meta_Beauty.json.gz`; without it the items have no
            texts.
        year: year whose form the files have; "auto" takes the form of the first review.
        thinning: which reviews are kept. Reviews without user, item or time are always left out.
        name: name of the dataset; None takes that of the file.
        on_progress: called from time to time with the position in the file.

    Raises:
        ValueError: if a file is invalid; the message names the file and, if there is one, the line.
    """
    log = _read_reviews(reviews_path, year, on_progress).thinned(thinning, str(reviews_path))
    texts, remarks = None, list[str]()
    if meta_path is not None:
        texts, remarks = _read_metadata(meta_path, log.used_items(), on_progress)
    done = imported(
        log, texts, paths=(reviews_path, meta_path), name=name or _name_of(reviews_path)
    )
    return replace(done, remarks=(*done.remarks, *remarks))


def _name_of(path: Path) -> str:
    return path.name.split(".")[0].removeprefix("reviews_")


def _read_reviews(path: Path, year: Year, on_progress: OnProgress | None) -> Log:
    growing = GrowingLog(path)
    form = None
    for objects in read_objects(path, on_progress):
        if form is None:
            form = _form_of(objects) if year == "auto" else _FORMS[year]
            _check_form(objects, form)
        growing.append(
            objects.texts(form.user),
            _item_ids(objects, form),
            objects.whole_numbers(form.time),
            objects.numbers(form.value),
        )
    return growing.log()


def _item_ids(objects: Objects, form: _Form) -> pl.Series:
    item_ids = objects.texts(form.items[0])
    for key in form.items[1:]:
        if item_ids.has_nulls():
            item_ids = item_ids.zip_with(item_ids.is_not_null(), objects.texts(key))
    return item_ids


def _form_of(objects: Objects) -> _Form:
    return _NEW if _NEW.user in objects.values[0] else _OLD


def _check_form(objects: Objects, form: _Form) -> None:
    """Refuses a file whose first lines all lack a key: such a file is of another kind or year."""
    for keys in ((form.user,), form.items, (form.time,)):
        if not any(key in value for value in objects.values for key in keys):
            raise ValueError(
                f"{objects.path}: no {keys[-1]!r} in its first {len(objects.values)} lines; the "
                f"first has {listed(objects.values[0])}. This is not a file of reviews, or not of "
                "that year; other files are imported as a table, by the names of their columns."
            )


def _read_metadata(
    path: Path, item_ids: pl.Series, on_progress: OnProgress | None
) -> tuple[pl.DataFrame, list[str]]:
    """Reads the texts of some items, with remarks on odd values."""
    row_of = {item_id: row for row, item_id in enumerate(item_ids)}
    texts: dict[str, list[str | None]] = {name: [None] * len(row_of) for name in _KEYS_OF}
    is_read = np.zeros(len(row_of), dtype=bool)
    odd: Counter[str] = Counter()

    def is_wanted(line: bytes) -> bool:
        match = _LITERAL_ITEM.match(line)
        return match is None or match[1].decode("utf-8", "replace") in row_of

    for objects in read_objects(path, on_progress, is_wanted=is_wanted):
        ids = _item_ids(objects, _NEW)  # "asin" is the second key of 2023, the only one before 2023
        for value, item_id in zip(objects.values, ids, strict=True):
            row = row_of.get(item_id)
            if row is None:
                continue
            if is_read[row]:
                odd["repeated lines of an item are left out, the first one counts"] += 1
                continue
            is_read[row] = True
            for name, column in texts.items():
                column[row] = _field(value, name, odd)
    frame = pl.DataFrame(
        {name: pl.Series(column, dtype=pl.String) for name, column in texts.items()}
    )
    frame = frame.insert_column(0, item_ids.alias("item_id")).filter(pl.Series(is_read))
    return frame, [f"Metadata: {number} {what}." for what, number in odd.items()]


def _field(value: dict[str, Any], name: str, odd: Counter[str]) -> str | None:
    """One text of an item, under the name that its year gives the field."""
    found = next((value[key] for key in _KEYS_OF[name] if value.get(key)), None)
    found_parts = dict.fromkeys(_parts(found))
    parts = [part for part in found_parts if part is not None]
    if len(parts) < len(found_parts):
        odd[f"values of {name} are no text and left out"] += 1
    if name == "title" and any(_SCRIPT_TITLE in part for part in parts):
        odd["titles are scripts of the web page and left out"] += 1
        return None
    plain = (plain_text(part) for part in parts)
    return _SEPARATOR_OF.get(name, " ").join(part for part in plain if part) or None


def _parts(value: Any, depth: int = 0) -> Iterator[str | None]:
    """Yields every text within a value, in order; None for every part that is no text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, list) and depth < _DEEPEST:
        for part in value:
            yield from _parts(part, depth + 1)
    elif value is not None:
        yield None
