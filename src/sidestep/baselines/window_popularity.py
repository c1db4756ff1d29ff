"""Popularity in a window: one list for everyone who asks at one moment, by the latest counts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.baselines.fitted import FittedRecommender
from sidestep.data.clock import Unit, ticks_per_day, unit_of
from sidestep.data.histories import Histories
from sidestep.padding import NO_MOMENT
from sidestep.step import HistoryBatch

_DIGITS = 9
"""Decimals of sums of weights: sums that should be equal agree to so many."""

_LENGTHS = ("window_days", "window")


class WindowPopularity(FittedRecommender):
    """Items by their count in the training part within some days before the asked moment.

    The window ends at the moment of recommendation, which it does not hold. It ends with the last
    event of the training part where the moment is later or unknown. Items that are equal in the
    window are ordered by their count in the whole training part.

    Source: the comparison of eSASRec (arXiv:2508.06450), in which popularity in the last days beats
    networks on several splits by time. That one has a single window, the last days of the training
    part; ours is the same where all moments are later than the training part.
    """

    score_kind = "count"
    reads_history = False
    reads_times = True

    def __init__(
        self,
        items: Int[np.ndarray, " events"],
        times: Int[np.ndarray, " events"],
        weights: Float[np.ndarray, " events"],
        num_items: int,
        *,
        window_days: int,
        window: int,
    ) -> None:
        """Takes the target events of the training part.

        Args:
            items: of the events, the oldest first.
            times: of the events, in the unit of the data's timestamps; they never fall.
            weights: of the events as targets.
            num_items: items of the catalog.
            window_days: length of the window in days.
            window: the same in the unit of the timestamps.
        """
        self.items = torch.from_numpy(items.astype(np.int64))
        self.times = torch.from_numpy(times.astype(np.int64))
        self.weights = torch.from_numpy(weights.astype(np.float64))
        self.window_days = window_days
        self.window = window
        self._num_items = num_items
        whole = self._counts(0, len(items))
        # Below the weight of every event, so that the window decides before the whole part.
        lightest = self.weights.min() if len(items) else torch.tensor(1.0)
        self._shares = lightest * whole / (whole.sum() + 1)

    @classmethod
    def fit(
        cls,
        histories: Histories,
        num_items: int,
        *,
        max_history: int,
        window_days: int = 7,
        **settings: Any,
    ) -> "WindowPopularity":
        """Takes the target events of the training part in the order of time.

        Args:
            histories: of the training part, with times.
            num_items: items of the catalog.
            max_history: is not read.
            window_days: length of the window in days.
            settings: none.

        Raises:
            TypeError: there are other settings.
            ValueError: see `times_and_unit`.
        """
        if settings:
            raise TypeError(f"popularity in a window has no setting {min(settings)!r:.60}")
        times, unit = times_and_unit(histories)
        is_target = histories.is_target
        weights = histories.target_weights
        order = np.argsort(times[is_target], kind="stable")
        return cls(
            histories.items[is_target][order],
            times[is_target][order],
            np.ones(len(order)) if weights is None else weights[is_target][order],
            num_items,
            window_days=window_days,
            window=window_days * ticks_per_day(unit),
        )

    def arrays(self) -> Mapping[str, np.ndarray]:
        """See `FittedRecommender.arrays`."""
        return {
            "event_items": self.items.numpy().astype(np.int32),
            "event_times": self.times.numpy(),
            "event_weights": self.weights.numpy(),
            **{name: np.asarray(getattr(self, name), dtype=np.int64) for name in _LENGTHS},
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], num_items: int, *, max_history: int
    ) -> "WindowPopularity":
        """See `FittedRecommender.from_arrays`."""
        events = ("event_items", "event_times", "event_weights")
        missing = {*events, *_LENGTHS} - arrays.keys()
        if missing:
            raise ValueError(f"{min(missing)} is missing")
        items, times, weights = (arrays[name] for name in events)
        for name in events:
            if arrays[name].shape != (len(items),):
                raise ValueError(f"{name} has not one entry per event")
        if len(items) and not (items.min() >= 0 and items.max() < num_items):
            raise ValueError(f"event_items names items that are not among {num_items:,}")
        if (np.diff(times) < 0).any():
            raise ValueError("event_times falls")
        if not (np.isfinite(weights) & (weights > 0)).all():
            raise ValueError("event_weights holds what is no finite number above 0")
        for name in _LENGTHS:
            if arrays[name].shape != () or arrays[name] < 1:
                raise ValueError(f"{name} is no whole number from 1")
        lengths = {name: int(arrays[name]) for name in _LENGTHS}
        return cls(items, times, weights, num_items, **lengths)

    @property
    def name(self) -> str:
        """`popularity-` and the length of the window, such as `popularity-7d`."""
        return f"popularity-{self.window_days}d"

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return self._num_items

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"]:
        """0: nothing is multiplied."""
        return torch.zeros_like(histories.lengths)

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """The counts in the window of each user, on the CPU in float64."""
        moments = histories.moments
        if moments is None:
            moments = torch.full_like(histories.lengths, NO_MOMENT)
        after_all = int(self.times[-1]) + 1 if len(self.times) else 0
        latest = moments.to("cpu").clamp(max=after_all)
        asked, windows = torch.unique(latest, return_inverse=True)
        ends = torch.searchsorted(self.times, asked)
        begins = torch.searchsorted(self.times, asked - self.window)
        counted = zip(begins.tolist(), ends.tolist(), strict=True)
        counts = torch.stack([self._counts(begin, end) for begin, end in counted])
        return (counts + self._shares)[windows]

    def _counts(self, begin: int, end: int) -> Float[Tensor, " items"]:
        """The sum of the weights of the events of each item, from `begin` to before `end`."""
        items, weights = self.items[begin:end], self.weights[begin:end]
        sums = torch.bincount(items, weights, minlength=self._num_items)
        return sums.double().round(decimals=_DIGITS)


def times_and_unit(histories: Histories) -> tuple[Int[np.ndarray, " interactions"], Unit]:
    """The times of interactions, and the unit that tells how long a day is.

    Raises:
        ValueError: the times are not known, or count neither seconds since 1970 nor parts of them.
    """
    times = histories.timestamps
    if times is None:
        raise ValueError(
            "window_days counts the days before a moment, and the interactions have no times; "
            "import them with their times, or leave window_days out."
        )
    unit = unit_of(times)
    if unit is None:
        raise ValueError(
            "window_days counts days, and the timestamps are no seconds since 1970 nor parts of "
            "them, so that nobody knows how long a day is; import the interactions with such "
            "times, or leave window_days out."
        )
    return times, unit
