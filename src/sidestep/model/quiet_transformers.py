"""Silence of transformers: no bars of its own, no warnings about its own coming versions.

Sidestep tells of long work by itself. Needs the extra `hf`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging


@contextmanager
def quiet() -> Iterator[None]:
    """Within the context, transformers draws no bars and warns of no coming version."""
    library: Any = logging  # transformers leaves it untyped
    draws_bars = library.is_progress_bar_enabled()
    library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
            yield
    finally:
        if draws_bars:
            library.enable_progress_bar()
