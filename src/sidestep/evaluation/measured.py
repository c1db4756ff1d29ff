"""Means over the rows that have a number, and how sure they are."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sidestep.metrics.statistics import Interval, bootstrap_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A mean over rows.

    interval: a bootstrap interval over users.
    num_rows: those that have the number; of the others nothing can be said.
    """

    mean: float
    interval: Interval
    num_rows: int


def measured(
    values: Float[np.ndarray, " rows"], users: Int[np.ndarray, " rows"], *, seed: int = 0
) -> Measured | None:
    """The mean of one number per row, NaN where a row has none; None where no row has one.

    Args:
        values: of the rows.
        users: of the rows, see `sidestep.metrics.statistics.numbered`.
        seed: of the resampling.
    """
    has_value = ~np.isnan(values)
    if not has_value.any():
        return None
    found = values[has_value]
    return Measured(
        mean=float(found.mean()),
        interval=bootstrap_interval(found, users=users[has_value], seed=seed),
        num_rows=len(found),
    )
