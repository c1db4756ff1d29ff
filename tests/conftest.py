"""Checks every annotated shape at every call, and gives tests that need real data its folder."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("sidestep", "beartype.beartype").__enter__()  # checks every annotation
settings.register_profile("default", deadline=None)  # the first call imports and compiles
settings.load_profile("default")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of third-party research data sets, which is not part of the repository."""
    folder = Path(os.environ.get("SIDESTEP_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SIDESTEP_DATA to run this test")
    return folder
