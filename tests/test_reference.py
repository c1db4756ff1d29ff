"""The reference that `make docs` builds has a page for every public module."""

import importlib.util
import pkgutil
from pathlib import Path

import pytest

import sidestep

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reference():
    """The module docs/reference.py."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def places(entries):
    """All pages of a navigation."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        for inner in entry.values() if isinstance(entry, dict) else ():
            yield from places([inner] if isinstance(inner, str) else inner)


def test_every_public_module_has_a_page_that_can_be_found(reference):
    found = pkgutil.walk_packages(sidestep.__path__, "sidestep.")
    public = {"sidestep"} | {module.name for module in found if "._" not in module.name}
    pages = reference.reference_pages()
    shown = {content.partition("::: ")[2].strip() for content in pages.values()}
    assert shown == public
    assert sorted(places(reference.reference_navigation())) == sorted(pages)


def test_texts_of_the_root_link_to_the_pages(reference):
    pages = reference.text_pages()
    assert "](architecture.md)" in pages["index.md"]
    assert "](contributing.md)" in pages["index.md"]
    assert "](docs/" not in pages["contributing.md"]


def test_every_document_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    documents = ROOT / "docs"
    missing = [
        str(path)
        for path in documents.rglob("*.md")
        if f"- {path.relative_to(documents).as_posix()}\n" not in navigation
    ]
    assert not missing
