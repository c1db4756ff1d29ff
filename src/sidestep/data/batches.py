"""Makes padded batches of histories: here, arrays become tensors."""

import numpy as np
import torch
from jaxtyping import Int

from sidestep.data.histories import Histories, padded, padded_weights
from sidestep.step import HistoryBatch


def history_batch(
    histories: Histories, rows: Int[np.ndarray, " selected"] | None = None
) -> HistoryBatch:
    """Makes a padded batch, on the CPU, of the histories of the users `rows` (None: all).

    The batch is as wide as its longest history. It has at least one column, so that no network gets
    a tensor without columns. All interactions are in the batch: call `Histories.inputs` first to
    leave out those that are not read.
    """
    starts, ends = histories.offsets[:-1], histories.offsets[1:]
    if rows is not None:
        starts, ends = starts[rows], ends[rows]
    weights = None
    if histories.input_weights is not None:
        weights = torch.from_numpy(padded_weights(histories.input_weights, starts, ends - starts))
    return HistoryBatch(
        items=torch.from_numpy(padded(histories.items, starts, ends - starts)),
        lengths=torch.from_numpy((ends - starts).astype(np.int64)),
        weights=weights,
    )
