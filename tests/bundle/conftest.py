"""A bundle of semantic IDs, made once, and copies of it."""

import shutil
from pathlib import Path

import pytest

from tests.bundle.test_bundle import saved


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that no test changes."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    saved(folder, "semantic-id-transformer")
    return folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A bundle that the test may change."""
    return shutil.copytree(made, tmp_path / "bundle")
