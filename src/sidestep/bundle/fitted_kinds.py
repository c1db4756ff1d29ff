"""Fitted recommenders of bundles: from a kind to a class, and back."""

from sidestep.baselines.fitted import FittedRecommender, fitted_class
from sidestep.baselines.transition_graph import TransitionGraph
from sidestep.baselines.window_popularity import WindowPopularity
from sidestep.import_paths import is_import_path

_OWN: dict[str, type[FittedRecommender]] = {
    "graph": TransitionGraph,
    "popularity-window": WindowPopularity,
}
"""The recommenders of Sidestep that a run fits. Others are named by their import path."""


def kind_of_fitted(recommender: FittedRecommender) -> str:
    """The kind of a bundle of this recommender."""
    for kind, known in _OWN.items():
        if type(recommender) is known:
            return kind
    return recommender.import_path()


def fitted_of_kind(kind: str) -> type[FittedRecommender] | None:
    """The class of a kind; None where a bundle of this kind holds something else.

    Raises:
        ValueError: the kind is an import path at which nothing is.
    """
    return fitted_class(kind) if is_import_path(kind) else _OWN.get(kind)
