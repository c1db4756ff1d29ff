"""Windows: the pieces of training sequences that fit a model, and batches of them.

Windows are for training only: one pass predicts every position of a window. Evaluation takes whole
rows, see `splits`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.data.batches import user_values
from sidestep.data.categories import Categories
from sidestep.data.histories import Histories, padded, padded_gaps, padded_weights
from sidestep.data.splits import TrainingPart
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch, UserValues

BATCHES_PER_BUCKET = 64
"""Number of batches whose windows are sorted by length together. With more batches there is less
padding, but windows are mixed less."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """Slices of sequences. A target reads all items of its window that precede it.

    items: all sequences, laid end to end.
    starts: index in `items` at which each window starts.
    lengths: number of items of each window; at least one of them is a target.
    first_target: first position of each window that is predicted. All positions from there on are
        predicted, except those whose weight as a target is 0.
    target_weights: factor on the loss of each entry of `items`. None: all weigh 1.
    input_weights: factor on the vector of each entry of `items`. None: all weigh 1.
    timestamps: time of each entry of `items`; None if unknown.
    users: row of the user of each window in `user_categories`.
    user_categories: see `Histories`; None if nothing is known of the users.
    """

    items: Int[np.ndarray, " interactions"]
    starts: Int[np.ndarray, " windows"]
    lengths: Int[np.ndarray, " windows"]
    first_target: Int[np.ndarray, " windows"]
    target_weights: Float[np.ndarray, " interactions"] | None = None
    input_weights: Float[np.ndarray, " interactions"] | None = None
    timestamps: Int[np.ndarray, " interactions"] | None = None
    users: Int[np.ndarray, " windows"] | None = None
    user_categories: Categories | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def num_targets(self) -> int:
        """Number of positions of all windows that are predicted."""
        if self.target_weights is None:
            return int((self.lengths - self.first_target).sum())
        return len(self.targets()[0])

    def targets(self) -> tuple[Int[np.ndarray, " targets"], Int[np.ndarray, " targets"]]:
        """The window of every target, and its position in the window, window by window."""
        counts = self.lengths - self.first_target
        windows = np.repeat(np.arange(len(self)), counts)
        begins = np.cumsum(counts) - counts
        positions = np.arange(len(windows)) - (begins - self.first_target)[windows]
        if self.target_weights is None:
            return windows, positions
        is_target = self.target_weights[self.starts[windows] + positions] > 0
        return windows[is_target], positions[is_target]

    def select(self, rows: Int[np.ndarray, " chosen"]) -> "Windows":
        """The windows `rows`, in that order."""
        return replace(
            self,
            starts=self.starts[rows],
            lengths=self.lengths[rows],
            first_target=self.first_target[rows],
            users=None if self.users is None else self.users[rows],
        )

    def latest_targets(self, number: int) -> "Windows":
        """Makes windows that keep at most `number` of their targets: the latest ones."""
        windows, positions = self.targets()
        ends = np.cumsum(np.bincount(windows, minlength=len(self)))
        first = np.maximum(ends - number, np.append(0, ends[:-1]))
        return replace(self, first_target=positions[first])

    def fingerprint(self) -> str:
        """Hash of the windows and their items. Equal windows have equal hashes.

        Times and users do not belong to it, see `TrainingPart.fingerprint`.
        """
        digest = hashlib.sha256()
        for array in (self.items, self.starts, self.lengths, self.first_target):
            digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
            digest.update(b"|")
        # Windows without weights keep the hash that they had before weights were introduced.
        for name in ("target_weights", "input_weights"):
            weights = getattr(self, name)
            if weights is not None:
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(weights, dtype=np.float64).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The share of one process in every batch: each `count`-th window, from window `index` on.

    index: of the process, from 0.
    count: of the processes.
    """

    index: int = 0
    count: int = 1


WHOLE = Share()
"""The share of a process that has each batch for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBatch:
    """Some windows, padded at the end: a batch, or the share of one process in a batch.

    items: item indices; `NO_ITEM` from `lengths` on.
    lengths: number of items of each window.
    is_target: True if the item is predicted from the items before it.
    num_targets: number of True entries of `is_target`, known without a copy from the device.
    target_weights: factor on the loss of each target. None: all weigh 1.
    input_weights: factor on the vector of each item that is read. None: all weigh 1.
    gaps: time from each item to the next item of its window, see `HistoryBatch`; None if unknown.
    user_values: what describes the user of each window, see `HistoryBatch`; None if unknown.
    other_targets: the items that are targets in the shares of other processes; None: the batch is
        whole.
    is_borrowed: True if this process has no share in the batch. Then `items` has a window of
        another process, which counts nothing here.
    """

    items: Int[Tensor, "users length"]
    lengths: Int[Tensor, " users"]
    is_target: Bool[Tensor, "users length"]
    num_targets: int
    target_weights: Float[Tensor, "users length"] | None = None
    input_weights: Float[Tensor, "users length"] | None = None
    gaps: Float[Tensor, "users length"] | None = None
    user_values: UserValues | None = None
    other_targets: Int[Tensor, " others"] | None = None
    is_borrowed: bool = False

    @property
    def num_batch_targets(self) -> int:
        """Number of targets of the batch, over the shares of all processes."""
        return self.num_targets + (0 if self.other_targets is None else len(self.other_targets))

    def to(self, device: torch.device | str) -> "WindowBatch":
        """Copies the batch to `device`."""

        def moved(weights: Tensor | None) -> Tensor | None:
            return None if weights is None else weights.to(device, non_blocking=True)

        return WindowBatch(
            items=self.items.to(device, non_blocking=True),
            lengths=self.lengths.to(device, non_blocking=True),
            is_target=self.is_target.to(device, non_blocking=True),
            num_targets=self.num_targets,
            target_weights=moved(self.target_weights),
            input_weights=moved(self.input_weights),
            gaps=moved(self.gaps),
            user_values=None if self.user_values is None else self.user_values.to(device),
            other_targets=moved(self.other_targets),
            is_borrowed=self.is_borrowed,
        )

    @property
    def histories(self) -> HistoryBatch:
        """The whole windows, targets included, as histories that are read."""
        return HistoryBatch(
            items=self.items,
            lengths=self.lengths,
            weights=self.input_weights,
            gaps=self.gaps,
            user_values=self.user_values,
        )

    def weights_of(
        self, users: Int[Tensor, " targets"], positions: Int[Tensor, " targets"]
    ) -> Float[Tensor, " targets"] | None:
        """Factors on the loss of the given targets; None if all weigh 1."""
        return None if self.target_weights is None else self.target_weights[users, positions]

    def after(
        self, users: Int[Tensor, " targets"], positions: Int[Tensor, " targets"], horizon: int
    ) -> Int[Tensor, "targets horizon"]:
        """The items from each of the given positions on, that of the position first.

        Args:
            users: the windows.
            positions: one per window.
            horizon: items that are wanted; `NO_ITEM` stands where a window has no more.
        """
        columns = positions[:, None] + torch.arange(horizon, device=self.items.device)
        width = self.items.shape[1]
        items = self.items[users[:, None], columns.clamp(max=width - 1)]
        return items.masked_fill(columns >= self.lengths[users][:, None], NO_ITEM)

    def before(
        self, users: Int[Tensor, " targets"], positions: Int[Tensor, " targets"]
    ) -> HistoryBatch:
        """The history before each of the given positions: one history per position.

        The gap after its last item ends at the position, the moment of recommendation.
        """
        width = int(positions.max())
        items = self.items[users, :width]
        is_past = torch.arange(width, device=items.device) < positions[:, None]
        weights = None if self.input_weights is None else self.input_weights[users, :width]
        return HistoryBatch(
            items=items.masked_fill(~is_past, NO_ITEM),
            lengths=positions,
            weights=weights,
            gaps=None if self.gaps is None else self.gaps[users, :width],
            user_values=None if self.user_values is None else self.user_values.select(users),
        )


def training_windows(part: TrainingPart, max_history: int) -> Windows:
    """Cuts every sequence into windows of at most `max_history` items and one target more.

    Every predicted position is the target of exactly one window. Windows end at the end of the
    sequence and every `max_history // 2` positions before (at least 1). Each window predicts its
    last `max_history // 2` positions; the first window predicts all positions that are left. So a
    position sees its whole history or at least half of `max_history`, at twice the cost of one pass
    over the sequence.

    If events have weights, the sequences that are cut hold only inputs and end at their last
    target. A target that is no input must not be read by later targets. Such a target ends a window
    of its own, after a copy of the latest `max_history` inputs.
    """
    if max_history < 1:
        raise ValueError(f"max_history must be at least 1, got {max_history}.")
    if part.histories.target_weights is None and part.histories.input_weights is None:
        return _cut(part.histories, part.first_target, max_history)
    return _weighted_windows(part, max_history)


def _cut(
    sequences: Histories, first_target: Int[np.ndarray, " users"], max_history: int
) -> Windows:
    """Cuts sequences whose items are all read into windows, see `training_windows`."""
    size = max_history + 1
    stride = max(1, max_history // 2)
    lengths = sequences.lengths
    # Counted from the end, the last window to make is the first one that starts at the start of
    # the sequence or whose targets reach back to the first target.
    num_before = np.minimum(
        -(-(lengths - size) // stride), -(-(lengths - first_target - stride) // stride)
    )
    num_windows = np.where(lengths > first_target, np.maximum(num_before, 0) + 1, 0)
    sequence = np.repeat(np.arange(len(sequences)), num_windows)  # [windows]
    last_of = np.cumsum(num_windows)[sequence]
    from_end = last_of - 1 - np.arange(len(sequence))
    ends = lengths[sequence] - from_end * stride
    starts = np.maximum(0, ends - size)
    is_first = from_end == num_windows[sequence] - 1
    first_of_window = np.where(is_first, first_target[sequence], ends - stride)
    return Windows(
        items=sequences.items,
        starts=sequences.offsets[:-1][sequence] + starts,
        lengths=ends - starts,
        first_target=first_of_window - starts,
        target_weights=sequences.target_weights,
        input_weights=sequences.input_weights,
        timestamps=sequences.timestamps,
        users=sequence,
        user_categories=sequences.user_categories,
    )


def _weighted_windows(part: TrainingPart, max_history: int) -> Windows:
    """Cuts sequences in which some events are no targets or no inputs into windows."""
    histories = part.histories
    is_input = histories.is_input
    users = np.repeat(np.arange(len(part)), histories.lengths)
    positions = np.arange(len(users)) - histories.offsets[:-1][users]
    is_target = histories.is_target & (positions >= part.first_target[users])
    num_before = np.cumsum(is_input) - is_input  # earlier inputs, of all users

    inputs = histories.kept(is_input)
    ends = np.zeros(len(part), dtype=np.int64)
    is_read = is_target & is_input
    # Of several writes to one place, the last one counts: the last target of the user.
    ends[users[is_read]] = num_before[is_read] + 1 - inputs.offsets[:-1][users[is_read]]
    nothing = np.zeros_like(ends)
    context = histories.between(nothing, part.first_target).inputs().lengths
    cut = _cut(inputs.between(nothing, ends), np.minimum(context, ends), max_history)
    cut = cut.select(np.unique(cut.targets()[0]))

    alone = np.flatnonzero(is_target & ~is_input)
    first = np.maximum(inputs.offsets[:-1][users[alone]], num_before[alone] - max_history)
    own = _own_windows(histories, alone, users[alone], first, num_before[alone])
    return _together(cut, own)


def _own_windows(
    histories: Histories,
    targets: Int[np.ndarray, " windows"],
    users: Int[np.ndarray, " windows"],
    starts: Int[np.ndarray, " windows"],
    ends: Int[np.ndarray, " windows"],
) -> Windows:
    """Makes one window per target: a copy of its inputs, followed by the target.

    Args:
        histories: histories that hold the targets and the inputs.
        targets: index of each target in the flat arrays.
        users: row of the user of each target.
        starts: index of the first input of each target, counted among the inputs alone.
        ends: one more than the index of the last input of each target, counted in the same way.
    """
    lengths = ends - starts + 1
    begins = np.cumsum(lengths) - lengths
    window = np.repeat(np.arange(len(targets)), lengths)
    position = np.arange(len(window)) - begins[window]
    is_target = position == lengths[window] - 1
    places = targets[window]
    places[~is_target] = np.flatnonzero(histories.is_input)[(starts[window] + position)[~is_target]]
    taken = histories.target_weights, histories.input_weights
    target_weights, input_weights = (None if each is None else each[places] for each in taken)
    if input_weights is not None:
        input_weights[is_target] = 1.0  # no position reads the target
    return Windows(
        items=histories.items[places],
        starts=begins,
        lengths=lengths,
        first_target=lengths - 1,
        target_weights=target_weights,
        input_weights=input_weights,
        timestamps=None if histories.timestamps is None else histories.timestamps[places],
        users=users,
        user_categories=histories.user_categories,
    )


def _together(first: Windows, second: Windows) -> Windows:
    """Joins two sets of windows. Weights that are all 1 become None."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(first, name), getattr(second, name)])

    def weights(name: str) -> np.ndarray | None:
        if getattr(first, name) is None:
            return None
        both = joined(name)
        return None if (both == 1).all() else both

    return Windows(
        items=joined("items"),
        starts=np.concatenate([first.starts, len(first.items) + second.starts]),
        lengths=joined("lengths"),
        first_target=joined("first_target"),
        target_weights=weights("target_weights"),
        input_weights=weights("input_weights"),
        timestamps=None if first.timestamps is None else joined("timestamps"),
        users=joined("users"),
        user_categories=first.user_categories,
    )


def num_batches(windows: Windows, batch_size: int) -> int:
    """Number of batches of an epoch; one of them may be smaller."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    return -(-len(windows) // batch_size)


def batches(
    windows: Windows,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    first_batch: int = 0,
    share: Share = WHOLE,
) -> Iterator[WindowBatch]:
    """Yields one epoch of shuffled batches of windows of similar length, on the CPU.

    Windows are shuffled, and sorted by length within buckets of `BATCHES_PER_BUCKET` batches. Then
    the batches are shuffled. The order depends only on `seed` and `epoch`. So a resumed run can
    pass the number of batches it has seen as `first_batch`; skipping these batches costs nothing.
    Of each batch, a process makes tensors of its share alone; the batches do not depend on shares.
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
        yield shared_batch(windows, order[index * batch_size : (index + 1) * batch_size], share)


def shared_batch(windows: Windows, rows: Int[np.ndarray, " users"], share: Share) -> WindowBatch:
    """Makes the share of a process in the batch of the windows `rows`.

    A process without a share borrows the first window, so that all processes have something to do.
    """
    if share.count == 1:
        return window_batch(windows, rows)
    is_borrowed = share.index >= len(rows)
    is_own = np.arange(len(rows)) % share.count == (0 if is_borrowed else share.index)
    if is_borrowed:
        is_own[1:] = False
    others = windows.select(rows[~is_own])
    other_rows, positions = others.targets()
    return replace(
        window_batch(windows, rows[is_own]),
        other_targets=torch.from_numpy(
            others.items[others.starts[other_rows] + positions].astype(np.int64)
        ),
        is_borrowed=is_borrowed,
    )


def window_batch(windows: Windows, rows: Int[np.ndarray, " users"]) -> WindowBatch:
    """Makes one batch of the windows `rows`."""
    lengths, first_target = windows.lengths[rows], windows.first_target[rows]
    items = padded(windows.items, windows.starts[rows], lengths)  # [users, length]
    columns = np.arange(items.shape[1])
    is_target = (columns >= first_target[:, None]) & (columns < lengths[:, None])
    target_weights, input_weights = (
        None if weights is None else padded_weights(weights, windows.starts[rows], lengths)
        for weights in (windows.target_weights, windows.input_weights)
    )
    if target_weights is not None:
        is_target &= target_weights > 0
    gaps = None
    if windows.timestamps is not None:
        gaps = torch.from_numpy(padded_gaps(windows.timestamps, windows.starts[rows], lengths))
    users = None
    if windows.user_categories is not None:
        assert windows.users is not None
        users = user_values(windows.user_categories.select(windows.users[rows]))
    return WindowBatch(
        items=torch.from_numpy(items),
        lengths=torch.from_numpy(lengths.astype(np.int64)),
        is_target=torch.from_numpy(is_target),
        num_targets=int(is_target.sum()),
        target_weights=None if target_weights is None else torch.from_numpy(target_weights),
        input_weights=None if input_weights is None else torch.from_numpy(input_weights),
        gaps=gaps,
        user_values=users,
    )
