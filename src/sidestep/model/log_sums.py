"""Sums of probabilities by code, from the scores of items."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def log_sums(
    scores: Float[Tensor, " entries"], cells: Int[Tensor, " entries"], num_cells: int
) -> Float[Tensor, " cells"]:
    """log Σ exp(score) over the entries of each cell; -inf at a cell without an entry above -inf.

    The gradient is finite everywhere.

    Args:
        scores: of the entries.
        cells: the cell of each entry, from 0.
        num_cells: number of all cells.
    """
    none = scores.new_full((num_cells,), -torch.inf)
    largest = none.scatter_reduce(0, cells, scores.detach(), "amax")
    largest = largest.masked_fill(largest == -torch.inf, 0.0)
    shares = (scores - largest[cells]).exp()
    sums = torch.zeros_like(none).scatter_add(0, cells, shares)
    has_some = sums > 0  # log 0 has no gradient
    return torch.where(has_some, sums.where(has_some, 1.0).log() + largest, -torch.inf)
