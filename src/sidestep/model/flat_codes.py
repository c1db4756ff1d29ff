"""Flat code ids: they count through the levels, so that one table has a row for every code."""

import torch
from jaxtyping import Int
from torch import Tensor


def level_starts(
    semantic_ids: Int[Tensor, "items levels"], codebook_sizes: tuple[int, ...]
) -> Int[Tensor, " levels"]:
    """The flat id of the first code of each level: code c of level l has the id `starts[l] + c`.

    Args:
        semantic_ids: of the items of a catalog; the starts lie on their device.
        codebook_sizes: codes per level.

    Raises:
        ValueError: there is not one codebook per level, or a code is outside its codebook.
    """
    num_levels = semantic_ids.shape[1]
    if len(codebook_sizes) != num_levels:
        raise ValueError(
            f"{len(codebook_sizes)} codebook sizes for semantic IDs of {num_levels} levels."
        )
    largest = semantic_ids.max(dim=0).values.tolist()
    if semantic_ids.min() < 0 or any(
        code >= size for code, size in zip(largest, codebook_sizes, strict=True)
    ):
        raise ValueError(
            f"semantic IDs reach {largest}, outside codebooks of sizes {list(codebook_sizes)}."
        )
    starts = [sum(codebook_sizes[:level]) for level in range(num_levels)]
    return torch.tensor(starts, device=semantic_ids.device)
