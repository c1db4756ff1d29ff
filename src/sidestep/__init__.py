"""Sidestep: generative recommendation with semantic IDs, searched step by step.

>>> import sidestep
>>> data = sidestep.Dataset.from_frames(log, items)  # doctest: +SKIP
>>> shop = sidestep.fit(data)  # doctest: +SKIP
>>> shop.recommend_frame(["u0", "u1"], k=10)  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

from sidestep.version import __version__ as __version__

if TYPE_CHECKING:
    from sidestep.bundle.folder import load as load
    from sidestep.bundle.loaded import LoadedRecommender as LoadedRecommender
    from sidestep.data.dataset import Dataset as Dataset
    from sidestep.runs.api import Evaluated as Evaluated
    from sidestep.runs.api import align as align
    from sidestep.runs.api import compare as compare
    from sidestep.runs.api import embed as embed
    from sidestep.runs.api import evaluate as evaluate
    from sidestep.runs.api import fit as fit
    from sidestep.runs.api import tokenize as tokenize
    from sidestep.runs.api import train as train
    from sidestep.runs.api import tune as tune
    from sidestep.runs.item_vectors import ItemVectors as ItemVectors
    from sidestep.runs.item_vectors import Sources as Sources
    from sidestep.runs.publishing import Published as Published
    from sidestep.runs.publishing import pull as pull
    from sidestep.runs.publishing import push as push
    from sidestep.runs.tuning import Tuned as Tuned


_PLACES = {
    "Dataset": "sidestep.data.dataset",
    "Evaluated": "sidestep.runs.api",
    "ItemVectors": "sidestep.runs.item_vectors",
    "LoadedRecommender": "sidestep.bundle.loaded",
    "Published": "sidestep.runs.publishing",
    "Sources": "sidestep.runs.item_vectors",
    "Tuned": "sidestep.runs.tuning",
    "align": "sidestep.runs.api",
    "compare": "sidestep.runs.api",
    "embed": "sidestep.runs.api",
    "evaluate": "sidestep.runs.api",
    "fit": "sidestep.runs.api",
    "load": "sidestep.bundle.folder",
    "pull": "sidestep.runs.publishing",
    "push": "sidestep.runs.publishing",
    "tokenize": "sidestep.runs.api",
    "train": "sidestep.runs.api",
    "tune": "sidestep.runs.api",
}
"""The modules that define the names of the Python API."""

__all__ = [
    "Dataset",
    "Evaluated",
    "ItemVectors",
    "LoadedRecommender",
    "Published",
    "Sources",
    "Tuned",
    "__version__",
    "align",
    "compare",
    "embed",
    "evaluate",
    "fit",
    "load",
    "pull",
    "push",
    "tokenize",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Imports a name when it is asked for, so that `import sidestep` stays light."""
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'sidestep' has no attribute {name!r}.")


def __dir__() -> list[str]:
    """The names of the Python API."""
    return list(__all__)
