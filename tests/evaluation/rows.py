"""Rows small enough to write down."""

import numpy as np

from sidestep.data.histories import Histories
from sidestep.data.splits import Rows


def rows_of(*pairs):
    """Rows with one past item and one target each."""
    return Rows(
        histories=Histories(
            items=np.array([past for past, _ in pairs]),
            offsets=np.arange(len(pairs) + 1),
            user_ids=tuple(f"user-{row}" for row in range(len(pairs))),
        ),
        targets=np.array([target for _, target in pairs]),
    )
