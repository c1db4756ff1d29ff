"""Histories as padded batches: where data become tensors."""

import numpy as np
import torch
from jaxtyping import Int

from sidestep.data.histories import Histories, padded, padded_gaps, padded_weights
from sidestep.data.splits import Rows
from sidestep.step import HistoryBatch


def history_batch(
    histories: Histories,
    rows: Int[np.ndarray, " selected"] | None = None,
    *,
    moments: Int[np.ndarray, " selected"] | None = None,
) -> HistoryBatch:
    """The users `rows` (None: all) as a padded batch on the CPU.

    It is as wide as its longest history, and at least one wide, so that no network meets a
    tensor without columns. Every interaction is read: leave out others with `Histories.inputs`.

    Args:
        histories: with the gaps between interactions where their times are known.
        rows: which users.
        moments: when each of these users is recommended to, in the unit of the timestamps; None
            where nobody knows.
    """
    starts, ends = histories.offsets[:-1], histories.offsets[1:]
    if rows is not None:
        starts, ends = starts[rows], ends[rows]
    weights = gaps = None
    if histories.timestamps is not None:
        gaps = torch.from_numpy(padded_gaps(histories.timestamps, starts, ends - starts, moments))
    if histories.input_weights is not None:
        weights = torch.from_numpy(padded_weights(histories.input_weights, starts, ends - starts))
    return HistoryBatch(
        items=torch.from_numpy(padded(histories.items, starts, ends - starts)),
        lengths=torch.from_numpy((ends - starts).astype(np.int64)),
        weights=weights,
        gaps=gaps,
    )


def row_batch(rows: Rows, chosen: Int[np.ndarray, " selected"]) -> HistoryBatch:
    """The histories of some rows; they are recommended to when their target followed."""
    moments = None if rows.times is None else rows.times[chosen]
    return history_batch(rows.histories, chosen, moments=moments)
