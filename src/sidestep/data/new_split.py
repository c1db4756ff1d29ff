"""A new split of a dataset: by a strategy, with the moments or the shares that somebody names."""

from typing import Literal

import numpy as np
from jaxtyping import Int

from sidestep.data.clock import timestamp_of, unit_of
from sidestep.data.global_time import SHARE, Periods, Targets, global_time, periods_by_share
from sidestep.data.histories import Histories
from sidestep.data.splits import Split, leave_one_out

Strategy = Literal["leave-one-out", "global-time"]


def new_split(
    histories: Histories,
    strategy: Strategy,
    *,
    moments: tuple[str | None, str | None] = (None, None),
    shares: tuple[float | None, float | None] = (None, None),
    targets: Targets = "last",
) -> Split:
    """The split of histories that somebody asks for.

    Args:
        histories: complete sequences, oldest first.
        strategy: whether each user's last items are held out, or everything after a moment.
        moments: the first moments of validation and of the test, as dates or as numbers in the
            unit of the times; both or none.
        shares: of the interactions for validation and for the test, instead of moments; None is
            `SHARE`.
        targets: which of a user's interactions in a period are asked for.

    Raises:
        ValueError: the strategy has no use for what is given, or a part of the split is empty.
    """
    # Every position is kept as a target: how much context they need is the model's matter.
    if strategy == "leave-one-out":
        if any(option is not None for option in (*moments, *shares)) or targets != "last":
            raise ValueError(
                "--strategy leave-one-out holds out each user's last two items; leave out the "
                "options of moments, shares and targets."
            )
        return leave_one_out(histories, min_context=0)
    periods = _periods(histories, moments, shares)
    return global_time(histories, periods, targets=targets, min_context=0)


def _periods(
    histories: Histories,
    moments: tuple[str | None, str | None],
    shares: tuple[float | None, float | None],
) -> Periods:
    times = _times(histories)
    if moments == (None, None):
        validation, test = (SHARE if share is None else share for share in shares)
        return periods_by_share(times, validation=validation, test=test)
    if shares != (None, None):
        raise ValueError("give either moments (--validation-from, --test-from) or shares.")
    validation_from, test_from = moments
    if validation_from is None or test_from is None:
        raise ValueError("give both --validation-from and --test-from, or neither.")
    unit = unit_of(times)
    return Periods(
        validation_from=timestamp_of(validation_from, unit),
        test_from=timestamp_of(test_from, unit),
    )


def _times(histories: Histories) -> Int[np.ndarray, " interactions"]:
    if histories.timestamps is None:
        raise ValueError(
            "--strategy global-time: the interactions have no timestamps; import them with their "
            "times, or split with --strategy leave-one-out."
        )
    return histories.timestamps
