"""The split of a dataset, which is its own or leave-one-out, and the fingerprint of a dataset."""

from dataclasses import replace
from typing import Any

from sidestep.data.dataset import Dataset
from sidestep.data.frames import content_sha256
from sidestep.data.splits import LEAVE_ONE_OUT, Split, leave_one_out


def split_of(dataset: Dataset, *, min_context: int = 0) -> Split:
    """The split of a dataset: its own if it has one, otherwise leave-one-out.

    Args:
        dataset: the dataset; the import has put its rows in order.
        min_context: a training position is predicted only if at least so many inputs precede it.
    """
    if dataset.split is None:
        return leave_one_out(dataset.histories(), min_context=min_context)
    return replace(dataset.split, train=dataset.split.train.after(min_context))


def strategy_of(split: Split) -> str | None:
    """Name of a split in results files; None for leave-one-out, which results files do not name."""
    return None if split.strategy == LEAVE_ONE_OUT else split.strategy


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """Fingerprint of a dataset, as JSON. Other weights or splits give another fingerprint.

    The table of users counts only for a run that reads columns of users, see `differing_data`.
    """
    own, users = dataset.split, dataset.users
    return {
        "name": dataset.name,
        "interactions": content_sha256(dataset.interactions.frame),
        "items": content_sha256(dataset.items.frame),
        "users": None if users is None else content_sha256(users.frame),
        **({"events": weights} if (weights := dataset.event_weights.description()) else {}),
        # A stored leave-one-out equals the split that a dataset without its own split gets.
        **({"split": own.fingerprint()} if own is not None and strategy_of(own) else {}),
    }
