"""The leak of time: how much of what is learned lies after the questions it is to answer."""

from dataclasses import dataclass

import numpy as np

from sidestep.data.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeak:
    """What a recommender could learn from the future of its test rows.

    rows: share of test rows after whose target there is anything to be learned from.
    interactions: share of the training interactions that lie after a target, mean over test rows.
    """

    rows: float
    interactions: float


def time_leak(split: Split) -> TimeLeak | None:
    """Measures a split; None if nothing is known of its times, or there is no test row.

    Only what is later by the clock counts, not what shares the target's moment. The interactions
    after a target are those of other users: a user's own training precedes it.

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
