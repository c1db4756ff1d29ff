"""Histories as padded batches: where data become tensors."""

import numpy as np
import torch
from jaxtyping import Int

from sidestep.data.histories import Histories, padded
from sidestep.step import HistoryBatch


def history_batch(
    histories: Histories, rows: Int[np.ndarray, " selected"] | None = None
) -> HistoryBatch:
    """The users `rows` (None: all) as a padded batch on the CPU.

    It is as wide as its longest history, and at least one wide, so that no network meets a
    tensor without columns.
    """
    starts, ends = histories.offsets[:-1], histories.offsets[1:]
    if rows is not None:
        starts, ends = starts[rows], ends[rows]
    return HistoryBatch(
        items=torch.from_numpy(padded(histories.items, starts, ends - starts)),
        lengths=torch.from_numpy((ends - starts).astype(np.int64)),
    )
