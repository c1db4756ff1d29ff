"""Fitted recommenders: made of the training part by a run, without a network."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from sidestep.baselines.item_scores import ItemScoreRecommender
from sidestep.data.histories import Histories
from sidestep.import_paths import imported, own_name


class FittedRecommender(ItemScoreRecommender):
    """A recommender that is made from the training part without a network.

    A run of kind `recommender` fits a recommender of a user's own. Its bundle keeps the arrays and
    the import path of the class; to load the bundle imports the module that defines the class. A
    fitted recommender of Sidestep has a kind of run of its own, and bundles name it by a short
    name, see `sidestep.bundle.fitted_kinds`.

    reads_history: whether a list depends on the items of the history.
    reads_times: whether a list depends on `HistoryBatch.gaps` or `HistoryBatch.moments`.
    """

    score_kind = "score"
    reads_history: bool = True
    reads_times: bool = False

    @classmethod
    @abstractmethod
    def fit(
        cls, histories: Histories, num_items: int, *, max_history: int, **settings: Any
    ) -> "FittedRecommender":
        """Makes the recommender from the training part.

        Args:
            histories: of the training part.
            num_items: items of the catalog.
            max_history: the most recent items of a history that lists should follow. The method
                `scores` is given whole histories.
            settings: those of the configuration.

        Raises:
            ValueError: a setting has no such value.
        """

    @abstractmethod
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Everything that was fitted, by name."""

    @classmethod
    @abstractmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], num_items: int, *, max_history: int
    ) -> "FittedRecommender":
        """The recommender that gave these arrays.

        Raises:
            ValueError: the arrays are another recommender's.
        """

    def grown(
        self, num_new: int, vectors: Float[np.ndarray, "new dim"] | None
    ) -> "FittedRecommender":
        """A copy with new items after the old ones; no history holds a new item.

        Args:
            num_new: items that come.
            vectors: of the new items, from the embedding that the old items have vectors from;
                None where they are not known.

        Raises:
            ValueError: the recommender takes no new items, as by default.
        """
        del num_new, vectors
        raise ValueError(
            f"{self.name} was fitted on the items of its catalog; fit it again with the new items."
        )

    @property
    def name(self) -> str:
        """`own-` and the name of the class."""
        return own_name(type(self).__name__)

    @classmethod
    def import_path(cls) -> str:
        """The name of the class in configurations and bundles."""
        return f"{cls.__module__}:{cls.__qualname__}"


def fitted_class(path: str) -> type[FittedRecommender] | None:
    """The class at an import path; None where something else is there.

    Raises:
        ValueError: the path cannot be imported.
    """
    found = imported(path)
    is_fitted = isinstance(found, type) and issubclass(found, FittedRecommender)
    return found if is_fitted else None
