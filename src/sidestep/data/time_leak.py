"""The leak of time: the share of the training data that lies after the test rows."""

from dataclasses import dataclass

import numpy as np

from sidestep.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeak:
    """Time leak of a split: training interactions that lie after the targets of test rows.

    rows: share of the test rows with at least one training interaction after the target.
    interactions: share of the training interactions that lie after a target, mean over test rows.
    """

    rows: float
    interactions: float


def time_leak(split: Split) -> TimeLeak | None:
    """Measures the time leak of a split; None if its times are unknown, or without test rows.

    An interaction at the same moment as the target does not count as later. The interactions after
    a target are those of other users: all training interactions of a user precede its target.

    Source: Ji et al. 2023 (arXiv:2010.11060) show that such data changes which recommender wins.
    """
    learned, asked = split.train.histories.timestamps, split.test.times
    if learned is None or asked is None or not len(asked):
        return None
    ordered = np.sort(learned)
    num_after = len(ordered) - np.searchsorted(ordered, asked, side="right")
    return TimeLeak(
        rows=float((num_after > 0).mean()),
        interactions=float(num_after.mean() / max(1, len(ordered))),
    )
