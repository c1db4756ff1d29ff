"""Gaps between events as inputs: how long after an item the next event came."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.model.config import GapConfig
from sidestep.step import HistoryBatch

_DOUBLINGS = 64
"""Gaps are differences of 64-bit whole numbers, so no gap has more."""

_UNKNOWN = 0
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
        self.table = nn.Embedding(1 + _DOUBLINGS * config.bins_per_doubling, dim)

    def forward(self, histories: HistoryBatch) -> Float[Tensor, "users items dim"]:
        """The vectors of the gaps; while training, some gaps are hidden at random."""
        bins = self.bins(histories)
        share = self.config.hidden_share
        if self.training and share > 0:
            # Whole histories, as when nobody gives times, and single gaps, such as the last one.
            drawn = torch.rand(bins.shape, device=bins.device)
            of_history = torch.rand(len(bins), 1, device=bins.device)
            bins = bins.masked_fill((drawn < share) | (of_history < share), _UNKNOWN)
        vectors: Tensor = self.table(bins)
        return vectors

    def bins(self, histories: HistoryBatch) -> Int[Tensor, "users items"]:
        """The bin of the gap after each item; 0 where the gap is unknown or below 0."""
        gaps = histories.gaps
        if gaps is None:
            return torch.full_like(histories.items, _UNKNOWN)
        is_known = gaps >= 0  # False at NaN
        known = torch.where(is_known, gaps, 0.0)
        bins = 1 + (torch.log2(1 + known) * self.config.bins_per_doubling).long()
        largest = self.table.num_embeddings - 1
        return torch.where(is_known, bins.clamp(max=largest), _UNKNOWN)
