"""Means over the rows that have a number, and how sure they are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

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


class RowNumbers:
    """Numbers of rows, one or one per depth, by what they say; NaN where a row has none."""

    def __init__(self, users: Int[np.ndarray, " rows"]) -> None:
        """Of these users' rows nothing is known so far; see `numbered`."""
        self.users = users
        self._by_kind: dict[str, Float[np.ndarray, "rows columns"]] = {}

    def put(
        self,
        rows: Int[np.ndarray, " users"],
        numbers: Mapping[str, Float[Tensor, "users _"]],
    ) -> None:
        """Keeps what was found of some rows."""
        for kind, values in numbers.items():
            unknown = np.full((len(self.users), values.shape[1]), np.nan)
            self._by_kind.setdefault(kind, unknown)[rows] = values.double().cpu().numpy()

    def measured(self, kind: str, column: int = 0) -> Measured | None:
        """The mean over the rows; None where no row has such a number."""
        if kind not in self._by_kind:
            return None
        return measured(self._by_kind[kind][:, column], self.users)
