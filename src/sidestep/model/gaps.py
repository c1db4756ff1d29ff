"""Gaps between events as inputs: how long after an item the next event came."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.model.config import GapConfig
from sidestep.step import HistoryBatch

_DOUBLINGS = 64
"""Gaps are differences of 64-bit whole numbers, so no gap has more."""

UNKNOWN_GAP = 0
"""The bin of gaps that nobody knows."""


class GapEmbedding(nn.Module):
    """A vector for the gap between an item and what came next, added to the vector of the item.

        bin(g) = 1 + floor(b · log2(1 + g)),  b bins per doubling

    The last item of a history gets the gap to the moment of recommendation. Because each item tells
    the gap after it, one causal pass reads the right gap at every position of a training sequence,
    where the moment of recommendation is the time of the target.

    Source: TiSASRec (Li et al., WSDM 2020, doi:10.1145/3336191.3371786), whose point is that the
    time between items tells what order does not. Our choices: gaps of neighbours in place of the
    intervals of all pairs, so that attention is unchanged and cached keys stay valid; bins of the
    logarithm, which need no scale per user and no unit; the moment of recommendation, which
    TiSASRec does not read; hidden gaps in training, so that a network can be asked without times.
    """

    def __init__(self, config: GapConfig, dim: int) -> None:
        """Makes the parameters; whoever owns it initialises them.

        Args:
            config: see there.
            dim: of the vectors of items.
        """
        super().__init__()
        self.config = config
        self.table = nn.Embedding(num_gap_bins(config), dim)

    def forward(self, histories: HistoryBatch) -> Float[Tensor, "users items dim"]:
        """The vectors of the gaps; while training, some gaps are hidden at random."""
        bins = self.bins(histories)
        if self.training and self.config.hidden_share > 0:
            bins = bins.masked_fill(hidden_gaps(histories.items, self.config), UNKNOWN_GAP)
        vectors: Tensor = self.table(bins)
        return vectors

    def bins(self, histories: HistoryBatch) -> Int[Tensor, "users items"]:
        """The bin of the gap after each item; 0 where the gap is unknown or below 0."""
        if histories.gaps is None:
            return torch.full_like(histories.items, UNKNOWN_GAP)
        return gap_bins(histories.gaps, self.config)


def num_gap_bins(config: GapConfig) -> int:
    """The number of bins that `gap_bins` tells apart."""
    return 1 + _DOUBLINGS * config.bins_per_doubling


def gap_bins(gaps: Float[Tensor, "*batch"], config: GapConfig) -> Int[Tensor, "*batch"]:
    """The bins of gaps, as `GapEmbedding` has them; `UNKNOWN_GAP` at NaN and below 0."""
    is_known = gaps >= 0  # False at NaN
    known = torch.where(is_known, gaps, 0.0)
    bins = 1 + (torch.log2(1 + known) * config.bins_per_doubling).long()
    return torch.where(is_known, bins.clamp(max=num_gap_bins(config) - 1), UNKNOWN_GAP)


def hidden_gaps(
    items: Int[Tensor, "users items"], config: GapConfig
) -> Bool[Tensor, "users items"]:
    """Gaps that training hides, at random: those of whole histories, and single ones.

    Args:
        items: of the histories; their number alone counts.
        config: says how many gaps are hidden.
    """
    # Whole histories, as when nobody gives times, and single gaps, such as the last one.
    drawn = torch.rand(items.shape, device=items.device)
    of_history = torch.rand(len(items), 1, device=items.device)
    return (drawn < config.hidden_share) | (of_history < config.hidden_share)
