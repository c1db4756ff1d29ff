"""LC-Rec JSON: `*.inter.json` (user -> items) with `*.item.json` or `*.terms.json`.

The semantic IDs of the same family, `*.index.json`, are not imported here: the tokenizer reads
published semantic IDs.
"""

from pathlib import Path

from sidestep.data.dataset import Dataset
from sidestep.data.importers.sequences import Sequences, dataset_from
from sidestep.data.importers.sources import JsonObject, read_json_object


def import_lcrec(
    interactions_path: Path, items_path: Path | None = None, *, name: str | None = None
) -> Dataset:
    """Imports a dataset in LC-Rec's form.

    Args:
        interactions_path: a JSON object: user -> list of items, oldest first, as whole numbers or
            as text.
        items_path: a JSON object: item -> fields or terms; None if the items have no texts.
        name: name of the dataset; None takes the part of the file name before the first dot.

    Raises:
        ValueError: if a file is invalid; the message names the file and the line.
    """
    source = read_json_object(interactions_path)
    kind = _kind_of_ids(source)
    sequences = Sequences(
        path=interactions_path,
        user_ids=list(source.value),
        item_ids=[_items(source, user_id, kind) for user_id in source.value],
        place=source.place,
    )
    return dataset_from(sequences, items_path, name or interactions_path.name.split(".")[0])


def lcrec_files(folder: Path) -> tuple[Path, Path | None]:
    """Finds the files of the interactions and of the item texts in a folder.

    Texts are in `*.item.json` or, if there is no such file, in `*.terms.json`.

    Raises:
        ValueError: if the folder holds no interactions, or more than one file of a kind.
    """
    found = {kind: sorted(folder.glob(f"*.{kind}.json")) for kind in ("inter", "item", "terms")}
    if not found["inter"]:
        raise ValueError(f"{folder}: there is no *.inter.json in it.")
    for kind, paths in found.items():
        if len(paths) > 1:
            names = [path.name for path in paths]
            raise ValueError(f"{folder}: several *.{kind}.json: {names}; name the one you mean.")
    texts = found["item"] or found["terms"]
    return found["inter"][0], texts[0] if texts else None


def _kind_of_ids(source: JsonObject) -> type:
    for items in source.value.values():
        if isinstance(items, list) and items:
            return int if type(items[0]) is int else str
    return str


def _items(source: JsonObject, user_id: str, kind: type) -> list[str]:
    items = source.value[user_id]
    if not user_id:
        raise ValueError(f"{source.place(user_id)}: the user ID is empty.")
    if not isinstance(items, list) or not items:
        what = "no items" if items == [] else f"a {type(items).__name__} instead of a list"
        raise ValueError(f"{source.place(user_id)}: the user has {what}; remove or correct it.")
    for item in items:
        # type() and not isinstance(): True would pass for an int.
        if type(item) is not kind:
            raise ValueError(
                f"{source.place(user_id)}: item {item!r:.60} is a {type(item).__name__}, while the "
                f"first item of the file is a {kind.__name__}; all must be whole numbers, or all "
                "text."
            )
        if item == "" or (isinstance(item, int) and item < 0):
            raise ValueError(
                f"{source.place(user_id)}: {item!r:.60} cannot be an item; remove or correct it."
            )
    return [str(item) for item in items]
