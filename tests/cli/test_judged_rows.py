"""Users of two items leave no rows to evaluate; commands say so before the work, with a remedy."""

import pytest

from sidestep.runs.inputs import load_dataset
from sidestep.runs.needed_rows import rows_needed
from sidestep.runs.plain_yaml import write_yaml
from tests.cli.commands import call, refused, run

PIPELINE = {
    "import": {"interactions": "twos.csv", "time": "at"},
    "train": {"popularity": {"kind": "popularity"}},
    "recommend": {"users": 1},
}


@pytest.fixture
def twos(tmp_path):
    """Ten users of two items each, and a pipeline for them."""
    rows = [f"u{user},i{(user + n) % 5},{10 * user + n}" for user in range(10) for n in range(2)]
    (tmp_path / "twos.csv").write_text("user_id,item_id,at\n" + "\n".join(rows) + "\n")
    imported = {"path": "twos.csv", "time": "at"}
    write_yaml(tmp_path / "sidestep.yaml", {**PIPELINE, "import": imported})
    return tmp_path


def test_an_import_warns_of_users_with_two_items(twos):
    done = call("import", "table", twos / "twos.csv", "--time", "at", "--out", twos / "dataset")
    assert done.exit_code == 0, done.output
    assert "no user has three interactions or more" in done.stderr
    assert f"sidestep data split {twos / 'dataset'} --strategy global-time" in done.stderr
    untimed = call("import", "table", twos / "twos.csv", "--out", twos / "untimed")
    assert "global-time" not in untimed.stderr
    assert "import more interactions per user" in untimed.stderr


@pytest.mark.parametrize("dry", [("--dry-run",), ()])
def test_a_pipeline_refuses_them_before_it_trains(twos, dry):
    message = refused("run", twos, *dry)
    assert "no user has three interactions or more" in message
    assert "split: {strategy: global-time}" in message
    assert not (twos / "popularity").exists()


def test_a_pipeline_takes_them_once_they_are_split_by_time(twos):
    run("run", twos, "--set", "split.strategy=global-time")
    assert (twos / "popularity" / "evaluations").is_dir()


def test_every_step_that_reads_such_a_dataset_refuses_it(twos):
    run("import", "table", twos / "twos.csv", "--out", twos / "dataset")
    with rows_needed("test"), pytest.raises(ValueError, match="leave-one-out leaves no rows"):
        load_dataset(twos / "dataset")
    with rows_needed(None):
        assert len(load_dataset(twos / "dataset").interactions) == 20


def test_an_evaluation_without_rows_says_what_to_do(twos):
    run("import", "table", twos / "twos.csv", "--out", twos / "dataset")
    write_yaml(twos / "popularity.yaml", {"kind": "popularity"})
    train = ("train", "--config", twos / "popularity.yaml", "--dataset", twos / "dataset")
    run(*train, "--out", twos / "run")
    for part in ("validation", "test"):
        for dry in ((), ("--dry-run",)):
            message = refused("evaluate", twos / "run", "--split", part, *dry)
            assert f"there are no {part} rows" in message
            assert "sidestep data split DATASET --strategy global-time" in message
