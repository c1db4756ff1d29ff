"""The check that a dataset is the one whose numbers a table has."""

from sidestep.data.dataset import Dataset
from sidestep.data.frames import content_sha256
from sidestep.reproduction.declarations import Fingerprint


def fingerprint_of(dataset: Dataset) -> Fingerprint:
    """The fingerprint of a dataset. Its name, its files and their format change nothing."""
    stats = dataset.stats()
    read = dataset.interactions.frame.select("user_id", "item_id", "timestamp")
    return Fingerprint(
        users=stats.users,
        items=stats.items,
        interactions=stats.interactions,
        interactions_sha256=content_sha256(read),
        items_sha256=content_sha256(dataset.items.frame),
    )


def differences(found: Fingerprint, declared: Fingerprint) -> list[str]:
    """The differences of a dataset from the declared one, in words; empty if there are none."""
    counts = [
        f"{ours:,} {what} instead of {theirs:,}"
        for what in ("users", "items", "interactions")
        if (ours := getattr(found, what)) != (theirs := getattr(declared, what))
    ]
    if counts:
        return counts
    others = []
    if found.interactions_sha256 != declared.interactions_sha256:
        others.append("as many interactions, but others, or in another order")
    if found.items_sha256 != declared.items_sha256:
        others.append("other texts of items, or items in another order")
    return others


def refuse_other_data(dataset: Dataset, declared: Fingerprint) -> None:
    """Refuses a dataset that is not the declared one.

    Raises:
        ValueError: it is another; says what differs, and what to do.
    """
    found = differences(fingerprint_of(dataset), declared)
    if found:
        raise ValueError(
            f"{dataset.name}: these are not the data of the table: {'; '.join(found)}. Give the "
            "folder of the right data, or say --other-data to measure the methods on these data."
        )
