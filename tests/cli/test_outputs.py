"""No command replaces a file without being told to, nor a file that it reads."""

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import call, refused, run


@pytest.fixture(scope="module")
def copy(shop, files, tmp_path_factory):
    """A copy of the shop with an output of every command. Tests may break the copy."""
    folder = tmp_path_factory.mktemp("outputs") / "shop"
    shutil.copytree(shop, folder)
    shutil.copy(files / "events.csv", folder / "events.csv")
    shutil.copytree(folder / "beam/bundle", folder / "own")
    (folder / "new.csv").write_text("item_id,title\nnew-1,tent\n")
    return folder


def commands(folder):
    """Every command that writes to `--out`, with the files that it reads."""
    beam = folder / "beam"
    events = ("--user", "user", "--item", "sku", "--time", "at")
    vectors = ("--vectors", folder / "vectors.npy")
    return {
        "dataset": ("import", "table", folder / "events.csv", *events),
        "vectors.npy": ("embed", folder / "dataset", "--dim", 8),
        "catalog": ("tokenize", folder / "dataset", *vectors),
        "stats": ("data", "stats", folder / "dataset"),
        "own": ("append", beam, "--items", folder / "new.csv"),
        "tombs": ("retire", beam, "--items", "i"),
        "exported": ("export", beam),
        "adopted": ("adopt", folder / "exported"),
        "attached": ("attach", beam, "--ranker", beam),
    }


NAMES = (*commands(Path()),)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_at_out_is_not_replaced(copy, name):
    kinds = {"tombs": "own", "adopted": "own"}
    out = copy / kinds.get(name, name)
    if not out.exists():
        out.mkdir()
        marks = {"exported": "sidestep_tokens.json", "stats": "stats.json"}
        (out / marks.get(name, "log.jsonl")).write_text("{}")
    before = contents(copy)
    message = refused(*commands(copy)[name], "--out", out)
    assert f"{out}: exists; choose another place for --out" in message
    assert "or replace what is there with --overwrite" in message
    assert contents(copy) == before


@pytest.mark.parametrize("name", [name for name in NAMES if name != "stats"])
def test_what_is_read_is_not_replaced_whatever_is_asked(copy, name):
    reads = {
        "dataset": copy / "events.csv",
        "vectors.npy": copy / "dataset",
        "catalog": copy / "dataset",
        "exported": copy / "beam",
        "adopted": copy / "exported",
        "attached": copy / "beam",
    }
    (copy / "exported").mkdir(exist_ok=True)
    before = contents(copy)
    for out in {reads.get(name, copy / "beam/bundle"), copy}:
        message = refused(*commands(copy)[name], "--out", out, "--overwrite")
        assert f"{out}: --out is, or holds, what the command reads" in message
    assert contents(copy) == before


def test_a_changed_bundle_goes_into_no_run_and_into_no_bundle(copy):
    retire = ("retire", copy / "own", "--items", "i", "--overwrite", "--out")
    assert "is the bundle that the run beam trained" in refused(*retire, copy / "beam/bundle")
    assert "lies in the bundle that is read" in refused(*retire, copy / "own/inner")


def test_what_is_asked_for_is_replaced(copy):
    out = copy / "replaced.npy"
    embed = ("embed", copy / "dataset", "--out", out)
    run(*embed, "--dim", 4)
    before = out.read_bytes()
    assert "exists" in refused(*embed, "--dim", 5, "--dry-run")
    assert "what is there would be replaced" in call(*embed, "--overwrite", "--dry-run").stderr
    assert out.read_bytes() == before
    run(*embed, "--dim", 5, "--overwrite")
    assert out.read_bytes() != before


def test_an_empty_folder_is_a_place_to_write(copy, tmp_path):
    run("data", "stats", copy / "dataset", "--out", tmp_path)
    assert "exists" in refused("data", "stats", copy / "dataset", "--out", tmp_path)
    run("data", "stats", copy / "dataset", "--out", tmp_path, "--overwrite")


def test_a_page_of_semantic_ids_replaces_pages_alone(copy):
    inspect = ("inspect", copy / "catalog", "--dataset", copy / "dataset", "--out")
    before = (copy / "events.csv").read_bytes()
    message = refused(*inspect, copy / "events.csv")
    assert f"--out {copy / 'events.csv'}: there is a file that is no page" in message
    assert (copy / "events.csv").read_bytes() == before
