"""Repeats: everyone's own most frequent items, and behind them the popular ones."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from sidestep.baselines.item_scores import ItemScoreRecommender
from sidestep.step import HistoryBatch

_DIGITS = 9
"""Decimals of frequencies: sums of weights that should be equal agree to so many."""


class RepeatsRecommender(ItemScoreRecommender):
    """The items of a user's history, the most frequent first, then the other items by popularity.

    Of own items that are equally frequent, the one taken last comes first, so that own items never
    tie. Other items tie where their counts are the same. A history without items gets popularity.
    Where people come back to the same items, as in groceries, this is the baseline to beat.

    The score of an own item is 1 for the last of them, 2 for the one before, and so on; that of
    another item is its share of all counts, below 1.
    """

    name = "repeats"
    score_kind = "repeats"

    def __init__(
        self,
        counts: Real[np.ndarray, " items"],
        *,
        max_history: int | None = None,
        is_available: Bool[Tensor, " items"] | None = None,
    ) -> None:
        """Takes the counts.

        Args:
            counts: target events per item in the training part, or the sum of their weights.
            max_history: most recent items of a history that count. None: all of them.
            is_available: items that may be recommended. None: all of them.
        """
        self.is_available = is_available
        self.max_history = max_history
        self.counts = torch.from_numpy(counts)
        # In float64, and divided by more than all counts: other counts are other shares below 1.
        self._shares = self.counts.double() / (self.counts.double().sum() + 1)

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return len(self.counts)

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"]:
        """0: nothing is multiplied."""
        return torch.zeros_like(histories.lengths)

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """Places among the own items, and shares of the others; in float64."""
        if self.max_history is not None:
            histories = histories.latest(self.max_history)
        items, lengths = histories.items, histories.lengths
        shares = self._shares.to(items.device)
        columns = torch.arange(items.shape[1], device=items.device)
        is_past = columns < lengths[:, None]  # [users, positions]
        # What is padding goes to a column of its own, past the last item.
        rows = items.long().masked_fill(~is_past, self.num_items)
        weights = is_past.double() if histories.weights is None else histories.weights.double()
        size = (len(items), self.num_items + 1)
        frequencies = torch.zeros(size, dtype=torch.float64, device=rows.device)
        frequencies.scatter_add_(1, rows, weights)
        latest = torch.full(size, -1, device=rows.device)
        latest.scatter_reduce_(1, rows, columns.expand_as(rows), "amax")
        # Each own item is ranked where it stands last, so that a later one wins among equals.
        is_own = is_past & (latest.gather(1, rows) == columns)
        keys = frequencies.gather(1, rows).round(decimals=_DIGITS)
        order = keys.masked_fill(~is_own, -torch.inf).argsort(dim=1, stable=True)
        places = torch.empty_like(order).scatter_(1, order, columns.expand_as(order))
        places = places - (~is_own).sum(dim=1, keepdim=True) + 1
        scores = torch.cat([shares, shares.new_zeros(1)]).repeat(len(items), 1)
        kept = rows.masked_fill(~is_own, self.num_items)
        return scores.scatter_(1, kept, places.double())[:, :-1]
