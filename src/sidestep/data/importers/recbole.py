"""RecBole's atomic files: `name.inter`, `name.item`, `name.user`, with typed headers.

Zhao et al., "RecBole: towards a unified, comprehensive and efficient framework for recommendation
algorithms", CIKM 2021. A header names a field and its type, such as `item_id:token`. The types are
`token`, `float`, and sequences of these.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sidestep.data.importers.delimited import first_fields, read_delimited
from sidestep.data.importers.imported import Imported, imported
from sidestep.data.importers.item_texts import plain_text, refuse_repeated
from sidestep.data.importers.lines import OnProgress
from sidestep.data.importers.log import GrowingLog, Log, Thinning
from sidestep.data.importers.sources import listed
from sidestep.data.users import UserTable

TYPES = ("token", "token_seq", "float", "float_seq")


def import_recbole(
    path: Path,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = "timestamp",
    value: str | None = "rating",
    event: str | None = None,
    thinning: Thinning = Thinning(),  # noqa: B008 - frozen
    name: str | None = None,
    on_progress: OnProgress | None = None,
) -> Imported:
    """Imports interactions, and the `.item` and `.user` files in the same folder.

    The default fields of times and values may be missing; a field of another name must exist.

    Args:
        path: `name.inter`, or the folder that holds it.
        user: the field of users.
        item: the field of items, in both files.
        time: the field of times. Seconds with decimals become milliseconds. Without the field, the
            order of the rows is the order of events.
        value: the field of a number, such as a rating.
        event: the field of the type of event, such as "purchase".
        thinning: which interactions are kept.
        name: name of the dataset; None takes that of the file.
        on_progress: called from time to time with the position in the file of interactions.

    Raises:
        ValueError: if a file is invalid; the message names the file and, if there is one, the line.
    """
    if path.is_dir():
        path = _inter_of(path)
    types = _types(path)
    for wanted in (user, item):
        _check_field(path, types, wanted)
    time = _optional(path, types, time, "timestamp")
    value = _optional(path, types, value, "rating")
    if event is not None:
        _check_field(path, types, event)
    fields = _Fields(user=user, item=item, time=time, value=value, event=event)
    log = _read_interactions(path, types, fields, on_progress)
    log = log.thinned(thinning, str(path))
    items_path = path.with_suffix(".item")
    has_items = items_path.is_file()
    users_path = path.with_suffix(".user")
    users = None
    if users_path.is_file():
        users = UserTable(_read_described(users_path, user, "user"))
    return imported(
        log,
        _read_described(items_path, item, "item") if has_items else None,
        users=users,
        paths=(path, items_path if has_items else None, None if users is None else users_path),
        name=name or path.stem,
    )


def _inter_of(folder: Path) -> Path:
    found = sorted(folder.glob("*.inter"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(f"{folder}: there is no *.inter in it; name the folder that holds one.")
    names = [path.name for path in found]
    raise ValueError(f"{folder}: several *.inter: {names}; name the one you mean.")


def _types(path: Path) -> dict[str, str]:
    """Fields of a file in order, with their types."""
    types: dict[str, str] = {}
    for field in first_fields(path, "\t"):
        name, colon, kind = field.rpartition(":")
        if not colon or kind not in TYPES:
            raise ValueError(
                f"{path}, line 1: {field!r:.50} is not name:type with one of the types "
                f"{', '.join(TYPES)}; atomic files start with such a header."
            )
        if not name or name in types:
            raise ValueError(f"{path}, line 1: two fields are called {name!r:.50}; rename one.")
        types[name] = kind
    return types


def _check_field(path: Path, types: dict[str, str], name: str) -> None:
    if name not in types:
        raise ValueError(f"{path}: there is no field {name!r:.60}; there are {listed(types)}.")
    if types[name].endswith("_seq"):
        raise ValueError(
            f"{path}: the field {name!r:.60} is a {types[name]}, a whole sequence per row; import "
            "the file whose rows are single interactions, or a copy of this one called .tsv with "
            f"'sidestep import rows --history {name:.60}:{types[name]}'."
        )


def _optional(path: Path, types: dict[str, str], name: str | None, default: str) -> str | None:
    if name is None or (name == default and name not in types):
        return None
    _check_field(path, types, name)
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fields:
    """Names of the fields of interactions; None if there is no such field."""

    user: str
    item: str
    time: str | None
    value: str | None
    event: str | None


def _read_interactions(
    path: Path, types: dict[str, str], fields: _Fields, on_progress: OnProgress | None
) -> Log:
    growing = GrowingLog(path)
    for table in read_delimited(path, "\t", list(types), has_header=True, on_progress=on_progress):
        growing.append(
            table.texts(fields.user),
            table.texts(fields.item),
            None if fields.time is None else table.moments(fields.time),
            None if fields.value is None else table.numbers(fields.value),
            None if fields.event is None else table.texts(fields.event),
        )
    return growing.log()


def _read_described(path: Path, field: str, what: str) -> pl.DataFrame:
    """A file that describes items or users: the column of IDs, then a column per other field.

    Args:
        path: of the file.
        field: of the IDs.
        what: a row describes, "item" or "user".
    """
    types, id_name = _types(path), f"{what}_id"
    _check_field(path, types, field)
    names = [name for name in types if name != field]
    if id_name in names:
        raise ValueError(
            f"{path}: the field {id_name!r} is not the one of the IDs, {field!r:.60}; rename it."
        )
    frames = []
    for table in read_delimited(path, "\t", list(types), has_header=True):
        texts = {
            name: pl.Series(
                [None if text is None else plain_text(text) for text in table.texts(name)],
                dtype=pl.String,
            )
            for name in names
        }
        frames.append(pl.DataFrame({id_name: table.ids(field), **texts}))
    frame = pl.concat(frames)
    refuse_repeated(path, frame[id_name], what)
    return frame
