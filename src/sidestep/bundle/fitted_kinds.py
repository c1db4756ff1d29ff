"""Fitted recommenders of bundles: from a kind to a class, and back.

A class is imported when a bundle needs it, because some of them need packages that others do not.
"""

from sidestep.baselines.fitted import FittedRecommender, fitted_class
from sidestep.import_paths import is_import_path

_OWN = {
    "graph": "sidestep.baselines.transition_graph:TransitionGraph",
    "popularity-window": "sidestep.baselines.window_popularity:WindowPopularity",
}
"""The recommenders of Sidestep that a run fits. Others are named by their import path."""


def kind_of_fitted(recommender: FittedRecommender) -> str:
    """The kind of a bundle of this recommender."""
    path = recommender.import_path()
    return next((kind for kind, known in _OWN.items() if known == path), path)


def fitted_of_kind(kind: str) -> type[FittedRecommender] | None:
    """The class of a kind; None where a bundle of this kind holds something else.

    Raises:
        ValueError: the kind is an import path at which nothing is.
    """
    path = kind if is_import_path(kind) else _OWN.get(kind)
    return None if path is None else fitted_class(path)
