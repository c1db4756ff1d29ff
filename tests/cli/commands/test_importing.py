"""`sidestep import`: from raw files to a dataset folder, with notes on rows that are left out."""

import json

import pytest

from sidestep.data.dataset import Dataset
from tests.cli.commands import call, refused, run
from tests.data.importers.formats import FORMATS

BY_NAME = {source.name: source for source in FORMATS}
CALLS = {
    "amazon-2014": ("amazon", "reviews_Toys_5.json.gz", "--meta", "meta_Toys.json.gz"),
    "amazon-2023": ("amazon", "All_Beauty.jsonl", "--year", "2023", "--min-value", 4),
    "ml-1m": ("movielens", "", "--min-value", 4, "--duplicates", "last"),
    "recbole": ("recbole", "", "--min-value", 3, "--ties", "item"),
    "lists-csv": ("lists", "lists.csv", "--time", "timestamp", "--name", "mine"),
    "table-csv": ("table", "log.csv", "--value", "v", "--min-value", 2, "--k-core", 1),
}


def arguments_of(name, folder):
    BY_NAME[name].write(folder)
    kind, file, *options = CALLS[name]
    options = [folder / o if str(o).endswith(".gz") else o for o in options]
    return ("import", kind, folder / file, *options, "--out", folder / "dataset")


@pytest.mark.parametrize("name", CALLS)
def test_every_source_becomes_a_dataset_whose_rows_are_accounted_for(tmp_path, name):
    answer = json.loads(run(*arguments_of(name, tmp_path), "--json"))
    dataset = Dataset.load(tmp_path / "dataset")
    assert answer["name"] == dataset.name
    assert answer["interactions"] == len(dataset.interactions)
    num_rows = {"amazon-2014": 5, "lists-csv": 5}.get(name, 3)
    assert answer["interactions"] + sum(answer["left_out"].values()) == num_rows


def test_what_is_left_out_is_said(tmp_path):
    done = call(*arguments_of("ml-1m", tmp_path))
    assert "Left out because they have a value below 4 or none: 1 interactions." in done.stderr
    assert "2 items with texts but without interactions are left out." in done.stderr
    assert "Next: sidestep embed" in done.stderr


def test_windows_are_told_and_read_as_such_when_asked(tmp_path):
    (tmp_path / "l.csv").write_text("user_id,item_ids\nu,a\nu,a b\nu,a b c\n")
    arguments = ("import", "lists", tmp_path / "l.csv", "--out", tmp_path / "dataset")
    assert "--rows windows" in call(*arguments, "--dry-run").stderr
    assert not (tmp_path / "dataset").exists()
    assert "--rows windows" in call(*arguments).stderr
    assert len(Dataset.load(tmp_path / "dataset").interactions) == 6
    done = call(*arguments, "--rows", "windows", "--overwrite")
    assert "they stand in several windows of their user: 3 interactions" in done.stderr
    assert len(Dataset.load(tmp_path / "dataset").interactions) == 3


def test_rows_are_a_split_whichever_files_there_are(tmp_path):
    folder = BY_NAME["rows"].write(tmp_path)
    out = ("--out", tmp_path / "dataset")
    given = ("--train", folder / "train.csv", "--items", folder / "items.json")
    done = call("import", "rows", *given, "--test", folder / "test.jsonl", *out)
    assert done.exit_code == 0, done.output
    assert "There is no valid file: each user's last training row" in done.stderr
    split = Dataset.load(tmp_path / "dataset").split
    assert (split.train.num_targets, len(split.validation), len(split.test)) == (2, 1, 2)
    assert "name at least one file of rows" in refused("import", "rows", *out)


def test_a_test_file_alone_is_evaluated_with_a_run_of_elsewhere(tmp_path):
    (tmp_path / "items.csv").write_text("item_id\na\nb\nc\n")
    (tmp_path / "config.yaml").write_text("kind: popularity\n")
    header = "user_id,history,target\n"
    (tmp_path / "train.csv").write_text(f"{header}u,[],a\nu,[a],b\nu,[a b],a\nv,[],c\nw,[],c\n")
    (tmp_path / "test.csv").write_text(f"{header}w,[],c\n")
    items = ("--items", tmp_path / "items.csv")
    both, alone, trained = tmp_path / "both", tmp_path / "alone", tmp_path / "run"
    run("import", "rows", "--train", tmp_path / "train.csv", *items, "--out", both)
    run("import", "rows", "--test", tmp_path / "test.csv", *items, "--out", alone)
    run("train", "--config", tmp_path / "config.yaml", "--dataset", both, "--out", trained)
    asked = ("evaluate", trained, "--split", "test", "--dataset", alone, "--json")
    assert json.loads(run(*asked))["metrics"]["HR@1"] == 1.0
    run("import", "rows", "--test", tmp_path / "test.csv", "--out", alone, "--overwrite")
    assert "are not those of the dataset" in refused(*asked)


def test_duplicates_and_what_is_outside_the_core_are_counted(tmp_path):
    rows = ["a,x", "a,y", "a,x", "b,x", "b,y", "c,z"]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n")
    options = ("--duplicates", "first", "--k-core", 2, "--out", tmp_path / "dataset", "--json")
    answer = json.loads(run("import", "table", tmp_path / "log.csv", *options))
    assert answer["interactions"] == 4
    assert answer["left_out"] == {
        "repeat an item of their user": 1,
        "are not in the 2-core": 1,
    }


def test_a_smallest_value_needs_values(tmp_path):
    path = BY_NAME["table-csv"].write(tmp_path) / "log.csv"
    out = tmp_path / "dataset"
    assert "--value" in refused("import", "table", path, "--min-value", 3, "--out", out)
    high = ("import", "table", path, "--value", "v", "--min-value", 9, "--out", out)
    assert "no value of 9 or more" in refused(*high)
    assert not out.exists()


def test_a_cut_off_dump_leaves_nothing(tmp_path):
    arguments = arguments_of("amazon-2014", tmp_path)
    path = arguments[2]
    path.write_bytes(path.read_bytes()[:-20])
    assert "reviews_Toys_5.json.gz, from line 1 on: the gzipped file is cut off" in refused(
        *arguments
    )
    assert not (tmp_path / "dataset").exists()
