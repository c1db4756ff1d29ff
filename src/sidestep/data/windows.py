"""Windows: the pieces of training sequences that fit a model, and batches of them.

This is only for training, where every position of a user is predicted in one pass; evaluation
takes whole rows, see `splits`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.data.histories import padded
from sidestep.data.splits import TrainingPart
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch

BATCHES_PER_BUCKET = 64
"""Batches sorted by length together; more pad less and mix worse."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """Slices of sequences; nothing is copied.

    items: all sequences, laid end to end.
    starts: where each window starts in `items`.
    lengths: items per window, at least one of them a target.
    first_target: the first position of each window that is predicted, up to its end.
    """

    items: Int[np.ndarray, " interactions"]
    starts: Int[np.ndarray, " windows"]
    lengths: Int[np.ndarray, " windows"]
    first_target: Int[np.ndarray, " windows"]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def num_targets(self) -> int:
        """Positions to be predicted, all windows together."""
        return int((self.lengths - self.first_target).sum())

    def select(self, rows: Int[np.ndarray, " chosen"]) -> "Windows":
        """Some of the windows."""
        return Windows(
            items=self.items,
            starts=self.starts[rows],
            lengths=self.lengths[rows],
            first_target=self.first_target[rows],
        )

    def fingerprint(self) -> str:
        """Names the windows with their items: equal ones alike, however they are stored."""
        digest = hashlib.sha256()
        for array in (self.items, self.starts, self.lengths, self.first_target):
            digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
            digest.update(b"|")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBatch:
    """Some windows, padded at the end.

    items: item indices; `NO_ITEM` from `lengths` on.
    lengths: items per window.
    is_target: True where the item is to be predicted from the ones before it.
    num_targets: how many entries of `is_target` are True, known without asking the device.
    """

    items: Int[Tensor, "users length"]
    lengths: Int[Tensor, " users"]
    is_target: Bool[Tensor, "users length"]
    num_targets: int

    def to(self, device: torch.device | str) -> "WindowBatch":
        """The same batch on `device`."""
        return WindowBatch(
            items=self.items.to(device, non_blocking=True),
            lengths=self.lengths.to(device, non_blocking=True),
            is_target=self.is_target.to(device, non_blocking=True),
            num_targets=self.num_targets,
        )

    def before(
        self, users: Int[Tensor, " targets"], positions: Int[Tensor, " targets"]
    ) -> HistoryBatch:
        """What each of some positions comes after: one history per position."""
        width = int(positions.max())
        items = self.items[users, :width]
        is_past = torch.arange(width, device=items.device) < positions[:, None]
        return HistoryBatch(items=items.masked_fill(~is_past, NO_ITEM), lengths=positions)


def training_windows(part: TrainingPart, max_history: int) -> Windows:
    """Cuts every sequence into windows of at most `max_history` items and one target more.

    Every predicted position is the target of exactly one window. Windows end at the end of the
    sequence and every `max_history // 2` positions before (at least 1), each predicting its last
    `max_history // 2` positions; the first one predicts all that is left. So a position sees its
    whole past or at least half of `max_history`, at twice the cost of one pass over the sequence.
    """
    if max_history < 1:
        raise ValueError(f"max_history must be at least 1, got {max_history}.")
    size = max_history + 1
    stride = max(1, max_history // 2)
    lengths = part.histories.lengths
    # The first window is the first, counted from the end, that starts at the sequence's start
    # or reaches back to the first target.
    num_before = np.minimum(
        -(-(lengths - size) // stride), -(-(lengths - part.first_target - stride) // stride)
    )
    num_windows = np.where(lengths > part.first_target, np.maximum(num_before, 0) + 1, 0)
    sequence = np.repeat(np.arange(len(part)), num_windows)  # [windows]
    last_of = np.cumsum(num_windows)[sequence]
    from_end = last_of - 1 - np.arange(len(sequence))
    ends = lengths[sequence] - from_end * stride
    starts = np.maximum(0, ends - size)
    is_first = from_end == num_windows[sequence] - 1
    first_target = np.where(is_first, part.first_target[sequence], ends - stride)
    return Windows(
        items=part.histories.items,
        starts=part.histories.offsets[:-1][sequence] + starts,
        lengths=ends - starts,
        first_target=first_target - starts,
    )


def num_batches(windows: Windows, batch_size: int) -> int:
    """How many batches an epoch has; one of them may be smaller."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    return -(-len(windows) // batch_size)


def batches(
    windows: Windows, batch_size: int, *, seed: int, epoch: int, first_batch: int = 0
) -> Iterator[WindowBatch]:
    """One epoch of shuffled batches of windows of similar length, on the CPU.

    Windows are shuffled, sorted by length within buckets of `BATCHES_PER_BUCKET` batches, and the
    batches shuffled again. The order depends on `seed` and `epoch` alone, so a resumed run passes
    the number of batches it has seen as `first_batch`, which costs nothing.
    """
    num = num_batches(windows, batch_size)
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed and epoch must not be negative, got {seed} and {epoch}.")
    if not 0 <= first_batch <= num:
        raise ValueError(f"first_batch must be from 0 to {num}, got {first_batch}.")
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(windows))
    bucket = np.arange(len(windows)) // (batch_size * BATCHES_PER_BUCKET)
    order = order[np.lexsort((windows.lengths[order], bucket))]
    for index in generator.permutation(num)[first_batch:]:
        yield window_batch(windows, order[index * batch_size : (index + 1) * batch_size])


def window_batch(windows: Windows, rows: Int[np.ndarray, " users"]) -> WindowBatch:
    """The windows `rows` as one batch."""
    lengths, first_target = windows.lengths[rows], windows.first_target[rows]
    items = padded(windows.items, windows.starts[rows], lengths)  # [users, length]
    columns = np.arange(items.shape[1])
    is_target = (columns >= first_target[:, None]) & (columns < lengths[:, None])
    return WindowBatch(
        items=torch.from_numpy(items),
        lengths=torch.from_numpy(lengths.astype(np.int64)),
        is_target=torch.from_numpy(is_target),
        num_targets=int((lengths - first_target).sum()),
    )
