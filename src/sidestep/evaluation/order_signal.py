"""The signal in the order of items: what is lost if the histories of users are shuffled.

Where nothing is lost, a data set cannot tell whether a recommender uses the order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sidestep.data.histories import Histories
from sidestep.data.splits import Split
from sidestep.metrics.statistics import Interval, bootstrap_interval, numbered
from sidestep.metrics.ties import hit_rate

CUTOFF = 10

_NUM_ROWS = 2000
_NUM_SHUFFLES = 3

_KEPT = 0.9
"""Share of the hit rate that shuffled histories keep where the order carries little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSignal:
    """Hit rates at 10 of the direct transitions from the last item, in order and shuffled.

    in_order: mean over rows, of the histories as they are.
    shuffled: the same after the training part and the histories were shuffled user by user.
    difference: bootstrap interval over users of the former minus the latter.
    num_rows: validation rows that were measured.
    """

    in_order: float
    shuffled: float
    difference: Interval
    num_rows: int

    @property
    def is_weak(self) -> bool:
        """Whether shuffled histories score about as well."""
        return self.shuffled >= _KEPT * self.in_order


def order_signal(split: Split, num_items: int, *, seed: int = 0) -> OrderSignal | None:
    """Measures what the order of items tells; None without validation rows that have a history.

    Items are ranked by how often they come directly after the last item of the history in the
    training part. Shuffled, the same counts still know which items go together.

    Source: Klenitskiy et al. 2024 (arXiv:2408.12008), who shuffle the histories of trained SASRec
    and GRU4Rec. Ours: transitions, which need no training, counted anew in shuffled sequences.

    Args:
        split: the split of a dataset.
        num_items: items of the catalog.
        seed: of the rows that are taken of many, and of the shuffles.
    """
    rows = split.validation
    rows = rows.select(np.flatnonzero(rows.histories.lengths))
    if not len(rows):
        return None
    draw = np.random.default_rng(seed)
    if len(rows) > _NUM_ROWS:
        rows = rows.select(np.sort(draw.choice(len(rows), size=_NUM_ROWS, replace=False)))
    train = split.train.histories
    in_order = _hits(train.items, train, _last_items(rows.histories), rows.targets, num_items)
    shuffles = [
        _hits(
            _shuffled(train, draw),
            train,
            _last_items(rows.histories, _shuffled(rows.histories, draw)),
            rows.targets,
            num_items,
        )
        for _ in range(_NUM_SHUFFLES)
    ]
    shuffled = np.mean(shuffles, axis=0)
    users = numbered(rows.histories.user_ids)
    return OrderSignal(
        in_order=float(in_order.mean()),
        shuffled=float(shuffled.mean()),
        difference=bootstrap_interval(in_order - shuffled, users=users, seed=seed),
        num_rows=len(rows),
    )


def _hits(
    items: Int[np.ndarray, " interactions"],
    train: Histories,
    last: Int[np.ndarray, " rows"],
    targets: Int[np.ndarray, " rows"],
    num_items: int,
) -> Float[np.ndarray, " rows"]:
    """Expected hit of each row among ten items; items of equal counts stand in random order.

    Args:
        items: those of the training part, in order or shuffled.
        train: the sequences that they belong to.
        last: last item of each history.
        targets: of the rows.
        num_items: items of the catalog.
    """
    users = np.repeat(np.arange(len(train)), train.lengths)
    is_pair = users[1:] == users[:-1]
    pairs = items[:-1][is_pair] * num_items + items[1:][is_pair]
    known, counts = np.unique(pairs, return_counts=True)
    starts, ends = (np.searchsorted(known, (last + after) * num_items) for after in (0, 1))
    before, tied = np.zeros(len(targets), dtype=np.int64), np.zeros(len(targets), dtype=np.int64)
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        followers, number = known[start:end] - last[row] * num_items, counts[start:end]
        own = number[followers == targets[row]]
        if len(own):
            before[row], tied[row] = (number > own[0]).sum(), (number == own[0]).sum()
        else:  # one of the items that never came after the last one
            before[row], tied[row] = len(number), num_items - len(number)
    return hit_rate(before, tied, CUTOFF)


def _last_items(
    histories: Histories, items: Int[np.ndarray, " interactions"] | None = None
) -> Int[np.ndarray, " rows"]:
    """The last item of each history, which is not empty."""
    return np.asarray((histories.items if items is None else items)[histories.offsets[1:] - 1])


def _shuffled(histories: Histories, draw: np.random.Generator) -> Int[np.ndarray, " interactions"]:
    """The items of sequences, in a random order within each."""
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    order = np.lexsort((draw.random(len(users)), users))
    return np.asarray(histories.items[order])
