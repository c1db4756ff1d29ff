"""The documents name files that exist, and show code that works. Most code is run line by line."""

import re
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest

from sidestep.cli.main import command_named
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from tests.cli.commands import run
from tests.documents import blocks_of

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RUN = sorted([ROOT / "README.md", ROOT / "docs" / "tutorial.md", *ROOT.glob("docs/how-to/*.md")])
"""Documents whose commands and Python are run on an invented shop."""

BESIDE_A_SERVICE = ROOT / "docs" / "how-to" / "serve.md"
"""Its requests need a service: tests/service/test_serving.py sends them."""


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
def test_commands_are_understood(document):
    for block in blocks_of(document):
        for words in block.commands:
            is_group = words[0] in {"import", "data"}
            command = command_named(*words[: 1 + is_group])
            command.make_context(words[is_group], words[1 + is_group :])  # raises if it refuses


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_not_run_says_why(document):
    unsaid = [
        f"{document.name}, line {block.line}"
        for block in blocks_of(document)
        if document not in RUN and block.is_run and (block.commands or block.language == "python")
    ]
    assert not unsaid


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with a shop's clicks.csv, products.csv and new-products.csv."""
    folder = tmp_path_factory.mktemp("tables")
    invented, _ = synthetic_shop(
        SyntheticShopConfig(num_users=80, num_departments=2, items_per_kind=6), 0
    )
    second = pl.int_range(pl.len()).cast(pl.Duration("ms")) * 1000
    clicks = invented.interactions.frame.select(
        user="user_id",
        product="item_id",
        time=(pl.datetime(2026, 1, 1) + second).dt.to_string("%Y-%m-%d %H:%M:%S"),
        event=pl.lit("purchase"),
    )
    products = invented.items.frame.rename({"item_id": "product"})
    new = products.head(2).with_columns(product=pl.Series(["new-1", "new-2"]))
    clicks.write_csv(folder / "clicks.csv")
    products.write_csv(folder / "products.csv")
    new.write_csv(folder / "new-products.csv")
    return folder


@pytest.fixture(scope="module")
def shop(tables, tmp_path_factory):
    """The folder of the tables after two commands of the tutorial, with a very short training."""
    folder = tmp_path_factory.mktemp("done")
    shutil.copytree(tables, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("new", "shop", "--interactions", "clicks.csv", "--items", "products.csv")
        hardly = [f"train.{name}.training.epochs=1" for name in ("transformer", "sasrec")]
        run("run", "shop", "--set", hardly[0], "--set", hardly[1])
    (folder / "value.yaml").write_text(
        "kind: value\nbackbone: shop/transformer\nembeddings: shop/vectors.npy\n"
        "training: {epochs: 1}\nvalidation: {num_users: 20, num_beams: 5}\n"
    )
    return folder


def readers_tables():
    """The tables that the README calls `log` and `items`, small enough to train in seconds."""
    config = SyntheticShopConfig(
        num_users=20,
        num_departments=1,
        items_per_kind=4,
        min_length=3,
        mean_length=5,
        max_length=8,
    )
    invented, _ = synthetic_shop(config, 0)
    short = {"user-": "u", "item-": "i"}
    log = invented.interactions.frame.select(
        pl.col("user_id", "item_id").str.replace_many(short),
        timestamp=pl.int_range(pl.len(), dtype=pl.Int64),
    )
    items = invented.items.frame.with_columns(pl.col("item_id").str.replace_many(short))
    return {"log": log, "items": items}


@pytest.mark.parametrize(
    "document", [path for path in RUN if path != BESIDE_A_SERVICE], ids=lambda path: path.name
)
def test_what_is_shown_works(document, request, tmp_path, monkeypatch):
    files = request.getfixturevalue(
        "tables" if document.name in ("tutorial.md", "README.md") else "shop"
    )
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)
    names = {"__name__": document.stem}
    if document.name == "README.md":
        names |= readers_tables()
    for block in blocks_of(document):
        if not block.is_run:
            continue
        if block.title is not None:
            (tmp_path / block.title).write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, f"{document.name}, line {block.line}", "exec"), names)
        for words in block.commands:
            run(*words)
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]
