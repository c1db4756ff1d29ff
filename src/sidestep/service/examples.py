"""Histories of users of a dataset, which people can take as examples."""

from pathlib import Path

import numpy as np

from sidestep.data.own_split import split_of
from sidestep.runs.inputs import load_dataset

MOST_EXAMPLES = 100
"""Histories that a service offers."""


def example_histories(dataset: Path) -> list[list[str]]:
    """Histories of the test rows of a dataset, without their targets: item IDs, oldest first.

    Rows without a history are left out. Of many rows, `MOST_EXAMPLES` are taken at equal distances.

    Args:
        dataset: the folder.

    Raises:
        FileNotFoundError, ValueError: see `load_dataset`; or no test row has a history.
    """
    found = load_dataset(dataset)
    histories = split_of(found).test.histories
    rows = np.flatnonzero(histories.lengths)
    if not len(rows):
        raise ValueError(f"{dataset}: no test row of this dataset has a history.")
    places = np.linspace(0, len(rows) - 1, min(len(rows), MOST_EXAMPLES), dtype=int)
    chosen = histories.select(rows[places])
    return [
        [found.items.item_ids[index] for index in chosen.items[start:end]]
        for start, end in zip(chosen.offsets[:-1], chosen.offsets[1:], strict=True)
    ]
