"""Repeats: how often people take an item again, and which score of a held item says so."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.optimize import brentq

from sidestep.data.windows import Windows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Repeats:
    """What training targets say of repeats.

    num_targets: at [h], the targets whose window holds h different items before them.
    num_repeats: the targets, all together, that are one of those items.
    """

    num_targets: Int[np.ndarray, " sizes"]
    num_repeats: int

    @classmethod
    def of(cls, windows: Windows) -> "Repeats":
        """Counts the targets of windows, of which each sees its own window alone."""
        window = np.repeat(np.arange(len(windows)), windows.lengths)  # [positions]
        begins = np.cumsum(windows.lengths) - windows.lengths
        positions = np.arange(len(window)) - begins[window]
        items = windows.items[windows.starts[window] + positions]
        # Sorted by window and item, the first of each run is the first time that it is taken.
        order = np.lexsort((positions, items, window))
        is_first = np.ones(len(window), dtype=bool)
        is_first[order[1:]] = (np.diff(window[order]) != 0) | (np.diff(items[order]) != 0)
        num_so_far = np.cumsum(is_first) - is_first
        num_before = num_so_far - num_so_far[begins[window]]
        is_target = positions >= windows.first_target[window]
        return cls(
            num_targets=np.bincount(num_before[is_target]),
            num_repeats=int((is_target & ~is_first).sum()),
        )

    def log_odds(self, num_items: int) -> float:
        """The score b of held items, beside 0 of all others, that makes repeats as frequent.

        Where a history holds h of n items, the softmax over the catalog puts on them

            m(h) = h · exp(b) / (h · exp(b) + n - h)

        and b solves  Σ over targets of m(h) = number of repeats,  which is also where the
        likelihood of the targets is highest. With the same h everywhere and a repeat rate of p that
        is  b = log(p / (1 - p)) - log(h / (n - h)).

        Half a repeat, and half a target that is none, are added to those that were counted
        (Krichevsky and Trofimov's estimate), so that b is finite where nobody repeats, and
        the further from 0 the more targets say so.

        Args:
            num_items: n, of the catalog.

        Returns:
            b in nats; 0 where no target has a choice between held items and others.
        """
        held = np.arange(len(self.num_targets))
        is_choice = (held > 0) & (held < num_items) & (self.num_targets > 0)
        held, targets = held[is_choice], self.num_targets[is_choice]
        total = int(targets.sum())
        if not total:
            return 0.0
        # A target that comes after the whole catalog is a repeat whatever the score.
        num_repeats = self.num_repeats - int(self.num_targets[num_items:].sum())
        wanted = total * (num_repeats + 0.5) / (total + 1)
        odds = np.log(held) - np.log(num_items - held)

        def surplus(score: float) -> float:
            mass = 1 / (1 + np.exp(-(score + odds)))
            return float(targets @ mass) - wanted

        share = np.log(wanted) - np.log(total - wanted)
        # Between the scores that would do if every history were the largest, or the smallest one.
        return float(brentq(surplus, share - odds.max() - 1, share - odds.min() + 1))
