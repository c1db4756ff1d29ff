"""Makes padded batches of histories: here, arrays become tensors."""

import numpy as np
import torch
from jaxtyping import Int

from sidestep.data.categories import Categories
from sidestep.data.histories import Histories, padded, padded_gaps, padded_weights
from sidestep.data.splits import Rows
from sidestep.step import HistoryBatch, UserValues


def history_batch(
    histories: Histories,
    rows: Int[np.ndarray, " selected"] | None = None,
    *,
    moments: Int[np.ndarray, " selected"] | None = None,
) -> HistoryBatch:
    """Makes a padded batch, on the CPU, of the histories of the users `rows` (None: all).

    The batch is as wide as its longest history. It has at least one column, so that no network gets
    a tensor without columns. All interactions are in the batch: call `Histories.inputs` first to
    leave out those that are not read.

    Args:
        histories: with the gaps between interactions where their times are known.
        rows: the users; None takes all.
        moments: the moment at which each of these users is recommended to, in the unit of the
            timestamps; None if the moments are not known.
    """
    starts, ends = histories.offsets[:-1], histories.offsets[1:]
    if rows is not None:
        starts, ends = starts[rows], ends[rows]
    users = histories.user_categories
    if users is not None and rows is not None:
        users = users.select(rows)
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
        user_values=None if users is None else user_values(users),
        moments=None if moments is None else torch.from_numpy(moments.astype(np.int64)),
    )


def user_values(categories: Categories) -> UserValues:
    """The categories of users as tensors, on the CPU."""
    return UserValues(
        numbers=torch.from_numpy(categories.numbers), weights=torch.from_numpy(categories.weights)
    )


def row_batch(rows: Rows, chosen: Int[np.ndarray, " selected"]) -> HistoryBatch:
    """The histories of some rows; they are recommended to when their target followed."""
    moments = None if rows.times is None else rows.times[chosen]
    return history_batch(rows.histories, chosen, moments=moments)
