"""The documents name files that exist, and commands that the command line knows."""

import re
from pathlib import Path

import pytest
import typer

from sidestep.cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_modules_named_in_words_exist(document):
    names = re.findall(r"`([a-z_]+/[a-z_/]+\.py)[`:]", document.read_text())
    roots = (ROOT, ROOT / "src" / "sidestep")
    missing = [name for name in names if not any((root / name).exists() for root in roots)]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_are_known(document):
    known = set(typer.main.get_command(app).commands)
    blocks = re.findall(r"```\n(.*?)```", document.read_text(), flags=re.DOTALL)
    used = set(re.findall(r"^sidestep ([a-z]+)", "\n".join(blocks), flags=re.MULTILINE))
    assert used <= known
