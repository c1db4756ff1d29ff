"""Batches of rows: histories that are judged together, and the item that came next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.data.batches import row_batch
from sidestep.data.splits import Rows
from sidestep.evaluation.evaluator import batches_by_length
from sidestep.step import HistoryBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBatch:
    """A batch of rows.

    rows: indices of the rows.
    targets: the item that came next.
    """

    rows: Int[np.ndarray, " users"]
    histories: HistoryBatch
    targets: Int[Tensor, " users"]


def row_batches(
    rows: Rows,
    batch_size: int,
    *,
    max_history: int | None,
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> Iterator[RowBatch]:
    """Yields all rows in batches; rows of similar length share a batch.

    Args:
        rows: histories and targets.
        batch_size: number of rows of a batch.
        max_history: number of most recent items of a history that are shown; None shows all.
        device: device of the batches.
        progress: called after each batch with the number of rows done and the number of all rows.
    """
    num_done = 0
    for chosen in batches_by_length(rows.histories.lengths, batch_size):
        targets = torch.from_numpy(rows.targets[chosen]).long()
        histories = row_batch(rows, chosen).to(device)
        yield RowBatch(
            rows=chosen,
            histories=histories if max_history is None else histories.latest(max_history),
            targets=targets.to(device),
        )
        num_done += len(chosen)
        if progress is not None:
            progress(num_done, len(rows))
