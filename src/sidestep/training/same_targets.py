"""Histories with the same next item, looked up in the windows of a training."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.data.windows import WindowBatch, Windows, window_batch
from sidestep.step import HistoryBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SameTargets:
    """The targets of all windows, sorted by item.

    windows: of the training.
    rows: the window of each target.
    positions: the position of each target in its window.
    items: the item of each target; ascending.
    """

    windows: Windows
    rows: Int[np.ndarray, " targets"]
    positions: Int[np.ndarray, " targets"]
    items: Int[np.ndarray, " targets"]

    @staticmethod
    def of(windows: Windows) -> "SameTargets":
        """The targets of some windows."""
        rows, positions = windows.targets()
        items = windows.items[windows.starts[rows] + positions]
        order = np.argsort(items, kind="stable")
        return SameTargets(
            windows=windows, rows=rows[order], positions=positions[order], items=items[order]
        )

    def partners(
        self, batch: WindowBatch, rows: Int[Tensor, " rows"], positions: Int[Tensor, " rows"]
    ) -> HistoryBatch:
        """For each given target, a random history with the same next item.

        The history may be the target's own; where the item is no other target, it is. The draw
        comes from torch's generator of the CPU.

        Args:
            batch: some of the windows.
            rows: windows of the batch.
            positions: a target in each of them.
        """
        device = batch.items.device
        wanted = batch.items[rows, positions].cpu().numpy()
        first = np.searchsorted(self.items, wanted, side="left")
        number = np.searchsorted(self.items, wanted, side="right") - first
        if (number == 0).any():
            missing = int(wanted[number == 0][0])
            raise ValueError(f"item {missing} is no target of the windows of the training.")
        drawn = torch.rand(len(wanted)).double().numpy()
        chosen = first + np.minimum((drawn * number).astype(np.int64), number - 1)
        others = window_batch(self.windows, self.rows[chosen]).to(device)
        every = torch.arange(len(chosen), device=device)
        return others.before(every, torch.from_numpy(self.positions[chosen]).to(device))
