"""Docstrings say what a thing is: none begins with a word that names nothing."""

import ast
from pathlib import Path

import pytest

FOLDERS = ("src", "tests", "benchmarks")
VAGUE = {"what", "how", "of", "that", "those", "whatever"}
"""First words that name nothing."""


def vague(text: str) -> list[str]:
    """The docstrings of a module that begin with a vague word, by line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = (ast.get_docstring(node) or ".").split()[0].rstrip(",:.").lower()
            if first in VAGUE:
                found.append(f"line {getattr(node, 'lineno', 1)}: {first}")
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_begin_with_what_a_thing_is(folder):
    root = Path(__file__).parents[1]
    found = {
        str(path.relative_to(root)): lines
        for path in sorted((root / folder).rglob("*.py"))
        if (lines := vague(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_a_vague_docstring_is_found():
    text = '"""A module."""\ndef f():\n    """What f says."""\nclass C:\n    """A thing."""\n'
    assert vague(text) == ["line 2: what"]
