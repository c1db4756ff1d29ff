"""Means over the rows that have a number, with bootstrap intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sidestep.metrics.statistics import Interval, bootstrap_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A mean over rows.

    interval: bootstrap interval over users.
    num_rows: number of rows that have the number. Rows without the number do not count.
    """

    mean: float
    interval: Interval
    num_rows: int


def measured(
    values: Float[np.ndarray, " rows"], users: Int[np.ndarray, " rows"], *, seed: int = 0
) -> Measured | None:
    """Mean of one number per row; None if no row has the number.

    Args:
        values: one per row, NaN if a row has no number.
        users: one per row, see `sidestep.metrics.statistics.numbered`.
        seed: seed of the resampling.
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


class RowNumbers:
    """Numbers of rows, by kind: one number per row, or one per row and depth.

    A number is NaN if a row has none.
    """

    def __init__(self, users: Int[np.ndarray, " rows"]) -> None:
        """Starts without numbers. `users` holds the user of each row; see `numbered`."""
        self.users = users
        self._by_kind: dict[str, Float[np.ndarray, "rows columns"]] = {}

    def put(
        self,
        rows: Int[np.ndarray, " users"],
        numbers: Mapping[str, Float[Tensor, "users _"]],
    ) -> None:
        """Stores the numbers of some rows."""
        for kind, values in numbers.items():
            unknown = np.full((len(self.users), values.shape[1]), np.nan)
            self._by_kind.setdefault(kind, unknown)[rows] = values.double().cpu().numpy()

    def measured(self, kind: str, column: int = 0) -> Measured | None:
        """Mean over the rows of the numbers of one kind; None if no row has such a number."""
        if kind not in self._by_kind:
            return None
        return measured(self._by_kind[kind][:, column], self.users)
