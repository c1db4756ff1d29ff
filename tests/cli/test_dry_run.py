"""A dry run of a long command writes nothing, and fails if the command would fail."""

import json

import pytest

from tests.cli.commands import call, refused, run


@pytest.fixture
def commands(shop, files, tmp_path):
    """Every long command as it could be run now, by name."""
    dataset, vectors = shop / "dataset", shop / "vectors.npy"
    columns = ("--user", "user", "--item", "sku")
    return {
        "import": ("import", "table", files / "events.csv", *columns, "--out", tmp_path / "d"),
        "embed": ("embed", dataset, "--out", tmp_path / "v.npy"),
        "tokenize": ("tokenize", dataset, "--vectors", vectors, "--out", tmp_path / "c"),
        "train": (
            *("train", "--config", files / "config.yaml", "--dataset", dataset),
            *("--catalog", shop / "catalog", "--out", tmp_path / "r"),
        ),
        "evaluate": ("evaluate", shop / "beam", "--report", tmp_path / "page.html"),
    }


def contents(*folders):
    return {
        path: path.stat().st_mtime_ns if path.is_file() else None
        for folder in folders
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("name", ["import", "embed", "tokenize", "train", "evaluate"])
def test_nothing_is_written(commands, shop, files, tmp_path, name):
    before = contents(shop, files, tmp_path)
    told = json.loads(run(*commands[name], "--dry-run", "--json"))
    assert told["dry_run"] is True
    assert told["items"] > 0
    assert not told["exists"]
    # A dry run of an import reads all files anyway. The cost of an embedding is not estimated.
    assert (told.get("estimated_seconds", 0) > 0) == (name in ("tokenize", "train", "evaluate"))
    assert "Nothing was written." in call(*commands[name], "--dry-run").stderr
    assert contents(shop, files, tmp_path) == before


def test_the_sizes_of_a_training_are_those_of_its_run(commands, tmp_path):
    planned = json.loads(run(*commands["train"], "--dry-run", "--json"))
    run(*commands["train"])
    lines = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    assert planned["steps"] == max(line.get("step", 0) for line in lines)
    assert json.loads(run(*commands["train"], "--dry-run", "--json"))["exists"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("import", ("--item", "skuu")),
        ("import", ("--out", "strangers")),
        ("embed", ("--columns", "titel")),
        ("embed", ("--weights", "sasrec=2")),
        ("embed", ("--given", "nowhere.npy")),
        ("embed", ("--sentence", "./no-encoder")),
        ("tokenize", ("--codebook-sizes", "4,1000")),
        ("tokenize", ("--codebook-sizes", "2,2")),
        ("tokenize", ("--set", "sizes=3")),
        ("tokenize", ("--out", "strangers")),
        ("train", ("--set", "model.dim=3")),
        ("train", ("--set", "model.item_head=true", "--set", "model.item_embedding=true")),
        ("train", ("--set", "training.trackers=[floppy]")),
        ("train", ("--out", "strangers")),
        ("evaluate", ("--search", "exhaustive", "--beams", 3)),
        ("evaluate", ("--report", "strangers")),
        ("evaluate", ("--dataset", "nowhere")),
    ],
)
def test_what_would_be_refused_is_refused(commands, tmp_path, monkeypatch, name, wrong):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strangers").mkdir()
    (tmp_path / "strangers" / "thesis.txt").write_text("precious")
    before = contents(tmp_path)
    message = refused(*commands[name], *wrong, "--dry-run")
    assert contents(tmp_path) == before
    assert message == refused(*commands[name], *wrong)


def test_a_run_that_cannot_be_continued_is_refused(commands, shop, files):
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    other = (*train, "--catalog", shop / "catalog", "--out", shop / "beam", "--set", "model.dim=8")
    assert "belongs to another run: config.model.dim" in refused(*other, "--dry-run")
    assert "another run" in refused(*other)
    assert "earlier run" in refused(*other, "--no-resume", "--dry-run")
