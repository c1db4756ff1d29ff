"""Fitted rankers: recommenders without a network that score items beside a network."""

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel
from torch import Tensor, nn

from sidestep.baselines.fitted import FittedRecommender
from sidestep.baselines.item_scores import ItemScoreRecommender
from sidestep.step import HistoryBatch


class FittedRanker(nn.Module):
    """A fitted recommender as a module without weights; its buffers are the fitted arrays.

    As a module, it is saved and loaded by a bundle like every other part beside a network.

    recommender: the fitted recommender.
    config: names the kind of the recommender in bundles.
    """

    user_columns: None = None

    def __init__(self, recommender: FittedRecommender, config: BaseModel) -> None:
        super().__init__()
        self.recommender = recommender
        self.config = config
        for name, values in _as_tensors(recommender).items():
            self.register_buffer(name, values)

    def grown_weights(
        self, num_new: int, vectors: Float[np.ndarray, "new dim"] | None
    ) -> dict[str, Tensor]:
        """The arrays of the recommender with new items, see `FittedRecommender.grown`.

        Raises:
            ValueError: the recommender takes no new items.
        """
        return _as_tensors(self.recommender.grown(num_new, vectors))

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return self.recommender.num_items

    @property
    def reads_times(self) -> bool:
        """Whether a score depends on times."""
        return self.recommender.reads_times


def _as_tensors(recommender: FittedRecommender) -> dict[str, Tensor]:
    """Copies of the arrays of a recommender."""
    return {name: torch.from_numpy(array.copy()) for name, array in recommender.arrays().items()}


class FittedScores(ItemScoreRecommender):
    """The scores of a fitted recommender, to be added to the logits of a network.

    The weight of the ranker brings the scores to the size of logits.
    """

    score_kind = "logit"

    def __init__(self, recommender: FittedRecommender, *, max_history: int) -> None:
        """Takes the recommender.

        Args:
            recommender: the fitted recommender.
            max_history: most recent items that it is shown.
        """
        self.recommender = recommender
        self.max_history = max_history

    @property
    def name(self) -> str:
        """The name of the recommender."""
        return self.recommender.name

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return self.recommender.num_items

    def flops(self, histories: HistoryBatch) -> Int[Tensor, " users"] | None:
        """FLOPs of the recommender."""
        return self.recommender.flops(histories)

    def scores(self, histories: HistoryBatch) -> Float[Tensor, "users items"]:
        """The scores in float32, on the device of the histories."""
        shown = histories.latest(self.max_history)
        return self.recommender.scores(shown).float().to(histories.items.device)
