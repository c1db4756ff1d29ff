"""Candidates: the items that a set of codes may still become.

The candidates of a set of one code are a posting list, and so may be those of a set of two codes. A
larger set grew from a smaller set: the candidates of the larger set are those of the smaller set
that also have the new code. The latest candidates are kept. So each step of a search reads the
items that are still possible, and not the whole catalog.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.catalog.posting_lists import PostingLists

_MAX_TABLES = 4
_MAX_KEPT_ITEMS = 2**24
"""Bounds on what is kept: the number of tables, and the items of a table, of four bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Some states, and the items of each state as a range of one array; the items ascend.

    states: ascending; a state may occur several times.
    starts: the position in `items` at which the items of each state begin.
    stops: the position after the last item of each state.
    items: of all states.
    """

    states: Int[Tensor, " states"]
    starts: Int[Tensor, " states"]
    stops: Int[Tensor, " states"]
    items: Int[Tensor, " entries"]

    def positions(self, states: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The row of each state; -1 for a state that the table lacks."""
        if not len(self.states):
            return torch.full_like(states, -1)
        rows = torch.searchsorted(self.states, states).clamp_(max=len(self.states) - 1)
        return rows.masked_fill_(self.states.index_select(0, rows) != states, -1)


class LatestCandidates:
    """The candidates of the latest calls, which a search may ask for again.

    Nothing but speed depends on these candidates, so threads may share them. There are at most four
    tables, each with at most 64 MiB of items. The table of a call holds at most users x width
    states.
    """

    def __init__(self) -> None:
        self._tables: tuple[Candidates, ...] = ()

    def keep(self, table: Candidates) -> None:
        """Keeps a table, unless it is empty or too large; the oldest one goes."""
        if 0 < len(table.items) <= _MAX_KEPT_ITEMS:
            # One assignment: whoever reads at the same time sees the old tables or the new ones.
            self._tables = (table, *self._tables[: _MAX_TABLES - 1])

    def tables(self) -> tuple[Candidates, ...]:
        """The kept tables, the latest first."""
        return self._tables


def spread(
    starts: Int[Tensor, " ranges"], stops: Int[Tensor, " ranges"]
) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
    """The positions of all ranges, one range after the other, and the range of each position."""
    lengths = stops - starts
    rows = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
    shifts = starts - (lengths.cumsum(0) - lengths)
    positions = torch.arange(len(rows), device=lengths.device) + shifts.index_select(0, rows)
    return positions, rows


def narrowest(
    lists: PostingLists, actions: Int[Tensor, "n codebooks"]
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """The range of the shortest posting list that holds all items of each set of codes.

    Args:
        lists: of the catalog.
        actions: the codes of each set; -1 where the set has no code of a codebook. Every set must
            have at least one code.
    """
    has = actions >= 0
    starts, stops = lists.bounds(actions.clamp(min=0).reshape(-1))
    starts, stops = starts.view(actions.shape), stops.view(actions.shape)
    if lists.first_pair is not None:
        one, other = torch.triu_indices(
            lists.num_codebooks, lists.num_codebooks, 1, device=actions.device
        )
        both = has[:, one] & has[:, other]
        low, high = actions[:, one].clamp(min=0), actions[:, other].clamp(min=0)
        # A missing code is action 0 here, whose codebook may be the other's: any list will do.
        low = torch.where(both, low, torch.zeros_like(low))
        high = torch.where(both, high, torch.full_like(high, lists.num_actions - 1))
        firsts, ends = lists.bounds(lists.pair_list(low.reshape(-1), high.reshape(-1)))
        starts = torch.cat([starts, firsts.view(low.shape)], dim=1)
        stops = torch.cat([stops, ends.view(low.shape)], dim=1)
        has = torch.cat([has, both], dim=1)
    lengths = (stops - starts).masked_fill(~has, lists.num_items + 1)
    best = lengths.argmin(dim=1, keepdim=True)
    return starts.gather(1, best)[:, 0], stops.gather(1, best)[:, 0]
