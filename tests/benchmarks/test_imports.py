"""Benchmarks import names that exist: a renamed class breaks a test, and not the next run."""

import ast
import importlib
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


def missing(file: Path) -> list[str]:
    """The imports of a file from the package that lead to nothing."""
    wanted = [
        (node.module, name.name)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for name in node.names
        if node.module.split(".")[0] == "sidestep"
    ]
    return [f"{module}.{name}" for module, name in wanted if not exists(module, name)]


def exists(module: str, name: str) -> bool:
    """Whether a module has a name, or a module of that name in it."""
    if hasattr(importlib.import_module(module), name):
        return True
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_import_leads_somewhere(file):
    assert missing(file) == []


def test_an_import_that_leads_nowhere_is_found(tmp_path):
    file = tmp_path / "benchmark.py"
    file.write_text("from sidestep.step import HistoryBatch, Historic\nfrom sidestep import step\n")
    assert missing(file) == ["sidestep.step.Historic"]
