"""Quality of a fit in a few numbers. `sidestep.evaluation.id_quality` studies the codes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sidestep.tokenizer.collisions import num_distinct
from sidestep.tokenizer.tokenizer import Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class FitQuality:
    """Quality of the codes as they were learned, before collisions are resolved.

    num_distinct: number of different semantic IDs.
    utilisation: per level, the share of its codes that at least one item has.
    reconstruction_error: squared distance between vectors and their reconstructions, as a share of
        the squared distance between vectors and their mean. 0 is perfect; 1 is no better than one
        vector for all items.
    """

    num_distinct: int
    utilisation: tuple[float, ...]
    reconstruction_error: float

    @staticmethod
    def of(fit: Fit, vectors: Float[np.ndarray, "items dim"]) -> "FitQuality":
        """Measures a fit on the vectors that the tokenizer was fitted on."""
        sizes = fit.tokenizer.codebook_sizes
        used = [
            len(np.unique(codes)) / size
            for codes, size in zip(fit.semantic_ids.T, sizes, strict=True)
        ]
        left = vectors - fit.tokenizer.reconstruct(fit.semantic_ids)
        spread = float(np.square(vectors - vectors.mean(axis=0)).sum(dtype=np.float64))
        error = float(np.square(left).sum(dtype=np.float64))
        return FitQuality(
            num_distinct=num_distinct(fit.semantic_ids),
            utilisation=tuple(used),
            reconstruction_error=error / spread if spread else 0.0,
        )

    def as_json(self) -> dict[str, Any]:
        """The numbers, rounded, without the number of semantic IDs."""
        return {
            "utilisation": [round(share, 4) for share in self.utilisation],
            "reconstruction_error": round(self.reconstruction_error, 5),
        }
