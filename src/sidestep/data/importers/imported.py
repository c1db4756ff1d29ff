"""Imported: the result of an import, a dataset with counts of the rows that were left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from sidestep.data.dataset import Dataset
from sidestep.data.events import event_counts, refuse_unknown_types
from sidestep.data.importers.doubts import doubts_about
from sidestep.data.importers.log import (
    REPEATED,
    Log,
    Thinning,
    of_other_type,
    outside_core,
    too_low,
)
from sidestep.data.importers.sources import sha256_of
from sidestep.data.interactions import Interactions, chronological
from sidestep.data.items import ItemTable
from sidestep.data.users import UserTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The result of an import. Every row of the source is in the dataset or is counted here.

    left_out: number of interactions of the source that are not in the dataset, by reason. The
        reason completes the sentence "12 interactions ...".
    remarks: sentences on anything else that a user should know.
    doubts: sentences on odd interactions, see `doubts_about`.
    """

    dataset: Dataset
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    doubts: Sequence[str] = ()


def imported(
    log: Log,
    texts: pl.DataFrame | None,
    *,
    users: UserTable | None = None,
    paths: Sequence[Path | None],
    name: str,
) -> Imported:
    """Joins a log with item texts. The items are those of the log.

    Args:
        log: the interactions, thinned and in order.
        texts: `item_id` and text columns, in the order of the items; None if there are no texts.
        users: table that describes the users; None if there is no such table.
        paths: the files: first that of the interactions, then those of the texts.
        name: name of the dataset.

    Raises:
        ValueError: if no item of the log has a text.
    """
    items = pl.DataFrame({"item_id": log.used_items()})
    remarks = []
    if texts is not None:
        is_known = items["item_id"].is_in(texts["item_id"].implode())
        if not is_known.any():
            raise ValueError(
                f"{paths[1]}: none of the {len(items)} items of {paths[0]} is in it, for example "
                f"not {items['item_id'][0]!r:.60}; the two files belong to different datasets."
            )
        num_unused = int((~texts["item_id"].is_in(items["item_id"].implode())).sum())
        if num_unused:
            remarks.append(f"{num_unused} items with texts but without interactions are left out.")
        if not is_known.all():
            remarks.append(f"{int((~is_known).sum())} items have no text.")
        items = items.join(texts, on="item_id", how="left", maintain_order="left")
    dataset = Dataset(
        interactions=log.interactions(),
        items=ItemTable(items),
        name=name,
        sources=sha256_of(*paths),
        users=users,
    )
    return Imported(
        dataset=dataset,
        left_out=log.left_out,
        remarks=tuple(remarks),
        doubts=doubts_about(dataset.interactions, users),
    )


def thinned(read: Dataset | Imported, how: Thinning) -> Imported:
    """Makes the part of a dataset that is kept, user by user, oldest first.

    An item without texts is removed if none of its interactions is kept. A split is kept only if
    every interaction is kept.

    Raises:
        ValueError: if no interaction is left.
    """
    done = read if isinstance(read, Imported) else Imported(dataset=read)
    if how.events is not None:
        done = _kept(done, _of_types(done.dataset, how.events), of_other_type(how.events))
    if how.min_value is not None:
        done = _kept(done, _at_least(done.dataset, how.min_value), too_low(how.min_value))
    done = _kept(done, done.dataset.deduplicated(how.duplicates, by_type=how.by_type), REPEATED)
    if how.k_core is not None:
        done = _kept(done, done.dataset.k_core(how.k_core), outside_core(how.k_core))
    ordered = chronological(done.dataset.interactions, how.ties)
    dataset = replace(done.dataset, interactions=ordered)
    return replace(done, dataset=dataset, doubts=doubts_about(dataset.interactions, dataset.users))


def _kept(done: Imported, kept: Dataset, why: str) -> Imported:
    """The import with a smaller dataset. `why` is the reason for leaving the others out."""
    num_left = len(done.dataset.interactions) - len(kept.interactions)
    left_out = dict(done.left_out)
    if num_left:
        left_out[why] = left_out.get(why, 0) + num_left
    return replace(done, dataset=kept, left_out=left_out)


def _of_types(dataset: Dataset, events: Sequence[str]) -> Dataset:
    """Keeps the interactions of some types of events."""
    frame = dataset.interactions.frame
    refuse_unknown_types(events, event_counts(frame["event"]), "--events")
    return _restricted(dataset, frame.filter(pl.col("event").is_in(events)))


def _at_least(dataset: Dataset, minimum: float) -> Dataset:
    """Keeps the interactions whose value is at least `minimum`."""
    kept = dataset.interactions.frame.filter(pl.col("value") >= minimum)
    if not kept.height:
        raise ValueError(f"{dataset.name} has no value of {minimum:g} or more; choose less.")
    return _restricted(dataset, kept)


def _restricted(dataset: Dataset, kept: pl.DataFrame) -> Dataset:
    """Keeps some interactions. An item without texts is removed if none of its own is kept."""
    items = dataset.items
    if not items.text_columns:
        items = items.restricted_to(kept["item_id"].unique())
    return replace(dataset, interactions=Interactions(kept), items=items, split=None)
