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
    from sidestep.runs.item_vectors import ItemVectors as ItemVectors
    from sidestep.runs.item_vectors import Sources as Sources
    from sidestep.runs.python import Evaluated as Evaluated
    from sidestep.runs.python import align as align
    from sidestep.runs.python import compare as compare
    from sidestep.runs.python import embed as embed
    from sidestep.runs.python import evaluate as evaluate
    from sidestep.runs.python import fit as fit
    from sidestep.runs.python import tokenize as tokenize
    from sidestep.runs.python import train as train


_PLACES = {
    "Dataset": "sidestep.data.dataset",
    "Evaluated": "sidestep.runs.python",
    "ItemVectors": "sidestep.runs.item_vectors",
    "LoadedRecommender": "sidestep.bundle.loaded",
    "Sources": "sidestep.runs.item_vectors",
    "align": "sidestep.runs.python",
    "compare": "sidestep.runs.python",
    "embed": "sidestep.runs.python",
    "evaluate": "sidestep.runs.python",
    "fit": "sidestep.runs.python",
    "load": "sidestep.bundle.folder",
    "tokenize": "sidestep.runs.python",
    "train": "sidestep.runs.python",
}
"""The modules that define the names of the Python API."""

__all__ = [
    "Dataset",
    "Evaluated",
    "ItemVectors",
    "LoadedRecommender",
    "Sources",
    "__version__",
    "align",
    "compare",
    "embed",
    "evaluate",
    "fit",
    "load",
    "tokenize",
    "train",
]


def __getattr__(name: str) -> Any:
    """Finds a name where it is defined, when it is asked for: `import sidestep` stays light."""
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'sidestep' has no attribute {name!r}.")


def __dir__() -> list[str]:
    """The names of the Python API."""
    return list(__all__)
