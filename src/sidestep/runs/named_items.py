"""Items that somebody names: in an option, in a file, or by the user who has had them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from sidestep.bundle.manifest import bundle_folder
from sidestep.data.names import split_names, unquoted_name
from sidestep.data.users import UserTable
from sidestep.files import read_utf8
from sidestep.lazy_imports import imported_when_used
from sidestep.padding import NO_ITEM
from sidestep.runs.folder import RunFolder
from sidestep.runs.inputs import load_dataset

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


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownUser:
    """A user of a dataset.

    item_ids: of the history, oldest first.
    times: of the interactions; None if unknown.
    users: the table of the users of the dataset; None if there is none.
    """

    item_ids: list[str]
    times: list[int] | None
    users: UserTable | None


def known_user(run: Path, user: str, dataset: Path | None) -> KnownUser:
    """A user of a dataset, or of the dataset of the run.

    Raises:
        FileNotFoundError: there is no dataset, or neither a run nor a bundle at `run`.
        KeyError: the dataset has no such user.
        ValueError: there is neither a dataset nor a run that names one.
    """
    folder = RunFolder(run)
    if dataset is None and not run.exists():
        raise FileNotFoundError(f"{run}: there is no such folder; name a run or a bundle.")
    if dataset is None and not folder.is_run():
        if any(run.glob("*/run.json")):
            bundle_folder(run)  # a folder of runs: says that one of them is to be named
        raise ValueError(
            f"--user needs --dataset, the folder that knows the user: {run} is no run that says "
            "which it was trained on."
        )
    dataset = folder.dataset(dataset)
    loaded = load_dataset(dataset)
    histories = loaded.histories()
    if user not in histories.user_ids:
        raise KeyError(
            f"{dataset}: no user {user!r}; users are such as {', '.join(histories.user_ids[:3])}."
        )
    # A bundle is given IDs alone, so that every input weighs 1.
    own = histories.inputs().select(np.array([histories.user_ids.index(user)]))
    times = None if own.timestamps is None else own.timestamps.tolist()
    item_ids = [loaded.items.item_ids[item] for item in own.items]
    return KnownUser(item_ids=item_ids, times=times, users=loaded.users)


def wanted_values(texts: Sequence[str]) -> dict[str, list[str]]:
    """The filters that texts such as `genre=Drama` name, as `recommend(where=...)` takes them.

    Several values of a column stand behind one sign, with commas between them as in CSV, or in
    several texts.

    Raises:
        ValueError: a text names no column or no value, or a quote does not end.
    """
    where: dict[str, list[str]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        named = split_names(values)
        if not name.strip() or not named:
            raise ValueError(f"{text!r:.80}: write column=value, such as genre=Drama.")
        where.setdefault(name.strip(), []).extend(named)
    return where


def num_candidates(
    catalog: catalogs.Catalog, is_eligible: Bool[np.ndarray, " items"] | None, left_out: list[str]
) -> int:
    """The number of items that a list could hold.

    Args:
        catalog: of the items.
        is_eligible: the only candidates; None for all.
        left_out: IDs of items that are none, known to the catalog or not.
    """
    is_candidate = np.ones(catalog.num_items, dtype=bool)
    if is_eligible is not None:
        is_candidate &= is_eligible
    unwanted = catalog.indices_of(left_out)
    is_candidate[unwanted[unwanted != NO_ITEM]] = False
    return int(is_candidate.sum())
