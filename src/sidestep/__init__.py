"""Sidestep: generative recommendation with semantic IDs, searched step by step."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidestep.bundle.folder import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Finds `load` where it is defined, when it is asked for: `import sidestep` stays light."""
    if name == "load":
        return importlib.import_module("sidestep.bundle.folder").load
    raise AttributeError(f"module 'sidestep' has no attribute {name!r}.")
