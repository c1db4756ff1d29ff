"""A full disk gives a message with the path and a remedy, and no half-written file."""

import pytest

from sidestep.runs.folder import RunFolder
from tests.cli.commands import call, run
from tests.small_disk import files_up_to


@pytest.fixture(scope="module")
def words(shop, files, tmp_path_factory):
    """Commands that write `--out`."""
    new = tmp_path_factory.mktemp("new") / "new.csv"
    new.write_text("item_id,title,description,brand,categories\nnew-1,tent,a,b,c\n")
    events = ("--user", "user", "--item", "sku", "--time", "at")
    config = ("--config", files / "config.yaml", "--dataset", shop / "dataset")
    return {
        "import": ("import", "table", files / "events.csv", *events),
        "embed": ("embed", shop / "dataset", "--dim", 8),
        "tokenize": ("tokenize", shop / "dataset", "--vectors", shop / "vectors.npy"),
        "append": ("append", shop / "beam", "--items", new),
        "stats": ("data", "stats", shop / "dataset"),
        "train": ("train", *config, "--catalog", shop / "catalog"),
    }


@pytest.mark.parametrize("name", ["import", "embed", "tokenize", "append", "stats"])
def test_a_full_disk_is_told_with_the_path_and_leaves_nothing(words, tmp_path, name):
    out = tmp_path / ("out.npy" if name == "embed" else "out")
    with files_up_to(500):
        done = call(*words[name], "--out", out)
    assert done.exit_code == 2, (done.output, done.exception)
    beside = tmp_path / "out.tfidf.safetensors"  # belongs to the vectors, is written before them
    assert f"Error: {beside if name == 'embed' else out}: " in done.stderr
    assert "ulimit -f" in done.stderr or "free some space" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_training_goes_on_once_there_is_space(words, shop, tmp_path):
    out = tmp_path / "run"
    with files_up_to(8_000):
        done = call(*words["train"], "--out", out)
    assert done.exit_code == 2, (done.output, done.exception)
    assert f"Error: {out}/" in done.stderr
    assert not RunFolder(out).bundle.exists()
    assert not [path for path in out.rglob("*") if path.name.startswith(".check")]
    run(*words["train"], "--out", out)
    weights = "bundle/model.safetensors"
    assert (out / weights).read_bytes() == (shop / "beam" / weights).read_bytes()
