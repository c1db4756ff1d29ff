"""Repeats: how often users take an item again, and the score of a held item that matches it.

A held item is an item of the history.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.optimize import brentq

from sidestep.data.windows import Windows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Repeats:
    """Counts of repeats among training targets.

    num_targets: at [h], the number of targets whose window holds h different items before them.
    num_repeats: the number of all targets that are one of these items.
    """

    num_targets: Int[np.ndarray, " sizes"]
    num_repeats: int

    @classmethod
    def of(cls, windows: Windows) -> "Repeats":
        """Counts the targets of windows. The history of a target is within its own window."""
        window = np.repeat(np.arange(len(windows)), windows.lengths)  # [positions]
        begins = np.cumsum(windows.lengths) - windows.lengths
        positions = np.arange(len(window)) - begins[window]
        items = windows.items[windows.starts[window] + positions]
        # Sorted by window and item, the first entry of each run is the item's first occurrence.
        order = np.lexsort((positions, items, window))
        is_first = np.ones(len(window), dtype=bool)
        is_first[order[1:]] = (np.diff(window[order]) != 0) | (np.diff(items[order]) != 0)
        num_so_far = np.cumsum(is_first) - is_first
        num_before = num_so_far - num_so_far[begins[window]]
        is_target = np.zeros(len(window), dtype=bool)
        owner, place = windows.targets()
        is_target[begins[owner] + place] = True
        return cls(
            num_targets=np.bincount(num_before[is_target]),
            num_repeats=int((is_target & ~is_first).sum()),
        )

    def log_odds(self, num_items: int) -> float:
        """The score b of held items that makes repeats as frequent as in training.

        All other items have the score 0. If a history holds h of n items, the softmax over the
        catalog gives the held items the mass

            m(h) = h · exp(b) / (h · exp(b) + n - h)

        and b solves  Σ over targets of m(h) = number of repeats.  This b also maximises the
        likelihood of the targets. If h is the same for all targets and the repeat rate is p, then
        b = log(p / (1 - p)) - log(h / (n - h)).

        Half a repeat, and half a target that is no repeat, are added to the counts (Krichevsky and
        Trofimov's estimate). So b is finite if nobody repeats, and b is further from 0 the more
        targets there are.

        Args:
            num_items: n, the number of items of the catalog.

        Returns:
            b in nats; 0 if no target has a choice between held items and others.
        """
        held = np.arange(len(self.num_targets))
        is_choice = (held > 0) & (held < num_items) & (self.num_targets > 0)
        held, targets = held[is_choice], self.num_targets[is_choice]
        total = int(targets.sum())
        if not total:
            return 0.0
        # A target whose history holds the whole catalog is a repeat, whatever the score is.
        num_repeats = self.num_repeats - int(self.num_targets[num_items:].sum())
        wanted = total * (num_repeats + 0.5) / (total + 1)
        odds = np.log(held) - np.log(num_items - held)

        def surplus(score: float) -> float:
            mass = 1 / (1 + np.exp(-(score + odds)))
            return float(targets @ mass) - wanted

        share = np.log(wanted) - np.log(total - wanted)
        # The root lies between the scores for which all histories have the largest or smallest h.
        return float(brentq(surplus, share - odds.max() - 1, share - odds.min() + 1))
