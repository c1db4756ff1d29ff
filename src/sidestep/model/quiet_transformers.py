"""A context in which transformers draws no bars and gives no warnings about its next versions.

Sidestep shows progress itself. Needs the extra `hf`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging


@contextmanager
def quiet() -> Iterator[None]:
    """In this context, transformers draws no bars and gives no `FutureWarning`."""
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
