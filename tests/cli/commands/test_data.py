import json
import shutil
from unittest.mock import ANY

import numpy as np
import pytest

from sidestep.bundle.folder import load
from sidestep.data.dataset import Dataset
from sidestep.evaluation.results import read as read_lines
from sidestep.runs.catalogs import popularity_of
from tests.cli.commands import call, refused, run


@pytest.fixture(scope="module")
def timed(shop, tmp_path_factory):
    """A copy of the shop's dataset, split by time."""
    folder = tmp_path_factory.mktemp("timed") / "dataset"
    shutil.copytree(shop / "dataset", folder)
    run("data", "split", folder, "--strategy", "global-time", "--validation-share", 0.2)
    return folder


def trained(kind, dataset, out, *more):
    config = out.parent / f"{out.name}.yaml"
    config.write_text(f"kind: {kind}\nmax_history: 10\n")
    small = ("--set", "model.dim=8", "--set", "training.epochs=2") if kind == "sasrec" else ()
    return ("train", "--config", config, "--dataset", dataset, "--out", out, *small, *more)


def test_every_interaction_of_a_split_is_accounted_for(timed):
    arguments = ("data", "split", timed, "--strategy", "global-time", "--validation-share", 0.2)
    told = json.loads(run(*arguments, "--json"))
    split = Dataset.load(timed).split
    assert told["strategy"] == split.strategy
    assert told["leak"] == {"rows": 0, "interactions": 0}
    assert told["interactions"] == (
        told["training_interactions"]
        + told["validation_targets"]
        + told["test_targets"]
        + told["held_out_as_context_only"]
    )
    assert told["test_targets"] == len(split.test) > 0
    assert told["training_interactions"] == pytest.approx(0.7 * told["interactions"], rel=0.02)
    split = " ".join(run(*arguments).split())
    assert "global time, validation from 496, test from 637" in split


def test_what_is_split_by_time_is_trained_and_evaluated_so(shop, timed, tmp_path):
    results = tmp_path / "quality.jsonl"
    for kind in ("popularity", "sasrec"):
        done = call(*trained(kind, timed, tmp_path / kind))
        assert done.exit_code == 0, done.output
        assert "leaks time" not in done.stderr
        run("evaluate", tmp_path / kind, "--split", "test")
        run("evaluate", tmp_path / kind, "--results", results)
    assert {line.setting.strategy for line in read_lines(results)} == {
        Dataset.load(timed).split.strategy
    }
    methods = json.loads(
        run("compare", tmp_path / "popularity", tmp_path / "sasrec", "--json", "--split", "test")
    )
    assert {method["num_users"] for method in methods} == {len(Dataset.load(timed).split.test)}
    message = refused("compare", tmp_path / "popularity", shop / "beam", "--split", "test")
    assert "how the data was split (global time, validation from 496, test from 637" in message
    assert "leave-one-out)" in message
    # A model that was trained on one split must not be evaluated on another split.
    message = refused("evaluate", shop / "beam", "--dataset", timed)
    assert "another split" in message


def test_a_dry_run_tells_the_split_and_leaves_the_dataset_as_it_is(shop):
    arguments = ("data", "split", shop / "dataset", "--strategy", "global-time", "--dry-run")
    told = json.loads(run(*arguments, "--json"))
    assert told["dry_run"] is True
    assert told["test_targets"] > 0
    assert "Nothing was written." in call(*arguments).stderr
    assert Dataset.load(shop / "dataset").split is None
    assert "the shares of validation and test" in refused(*arguments, "--test-share", 2)


def test_leave_one_out_is_told_to_leak(shop, tmp_path):
    dataset = tmp_path / "dataset"
    shutil.copytree(shop / "dataset", dataset)
    done = call("data", "split", dataset, "--strategy", "leave-one-out", "--json")
    assert "leave-one-out leaks time" in " ".join(done.stderr.split())
    told = json.loads(done.stdout)
    assert 0 < told["leak"]["interactions"] < told["leak"]["rows"] <= 1
    # Whoever splits or imports chooses; a training chooses nothing.
    told = call(*trained("popularity", dataset, tmp_path / "popularity"))
    assert "leaks time" not in told.stderr
    # A stored leave-one-out equals the default split: runs may use either of them.
    run("evaluate", shop / "beam", "--dataset", dataset, "--users", 10)


def test_a_catalog_of_texts_is_used_with_the_counts_of_another_split(shop, timed, files, tmp_path):
    arguments = ("train", "--config", files / "config.yaml", "--dataset", timed)
    done = call(*arguments, "--catalog", shop / "catalog", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "another training part" not in " ".join(done.stderr.split())
    dataset = Dataset.load(timed)
    counts = popularity_of(dataset.split, len(dataset.items))
    np.testing.assert_array_equal(load(tmp_path / "run").catalog.popularity, counts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--strategy", "leave-one-out", "--test-share", 0.1), "leave out the options"),
        (("--strategy", "global-time", "--test-from", 9), "give both --validation-from and"),
        (
            ("--strategy", "global-time", "--test-from", 9, "--test-share", 0.1),
            "give either moments",
        ),
        (
            ("--strategy", "global-time", "--validation-from", "2018-01-01", "--test-from", 9),
            "write a whole number in their unit",
        ),
        (
            ("--strategy", "global-time", "--validation-from", 9, "--test-from", "tomorrow"),
            "'tomorrow' is neither a whole number nor a date",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(shop, options, message):
    before = sorted((shop / "dataset").iterdir())
    assert message in refused("data", "split", shop / "dataset", *options)
    assert sorted((shop / "dataset").iterdir()) == before


def test_without_times_there_is_no_split_by_time(files, tmp_path):
    dataset = tmp_path / "dataset"
    columns = ("--user", "user", "--item", "sku")
    run("import", "table", files / "events.csv", *columns, "--out", dataset)
    message = refused("data", "split", dataset, "--strategy", "global-time")
    assert "the interactions have no timestamps" in message


def test_stats_are_printed_written_and_drawn(timed, tmp_path):
    told = json.loads(run("data", "stats", timed, "--out", tmp_path / "stats", "--json"))
    assert (told["name"], told["users"]) == ("shop", 80)
    assert told["interactions"] == len(Dataset.load(timed).interactions)
    assert told["strategy"] == Dataset.load(timed).split.strategy
    assert told["texts"]["title"]["item_share"] == 1
    assert json.loads((tmp_path / "stats" / "stats.json").read_text()) == told
    assert (tmp_path / "stats" / "figure.png").read_bytes().startswith(b"\x89PNG")
    words = " ".join(run("data", "stats", timed).split())
    assert "users 80" in words
    assert "time leak of leave-one-out" in words
    # Again into the same folder, but into no other folder.
    run("data", "stats", timed, "--out", tmp_path / "stats", "--overwrite")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("")
    mine = ("--out", tmp_path / "mine", "--overwrite")
    assert "exists and is not statistics" in refused("data", "stats", timed, *mine)


def test_stats_warn_of_tied_times_and_of_an_order_that_carries_little(tmp_path):
    draw = np.random.default_rng(0)
    lines = [
        f"u{user},i{item},{min(place, 4)}"  # the last two of six at one time
        for user in range(150)
        for place, item in enumerate(draw.permutation(8)[:6])
    ]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,at", *lines]))
    columns = ("--user", "user", "--item", "item", "--time", "at")
    run("import", "table", tmp_path / "log.csv", *columns, "--out", tmp_path / "dataset")
    told = " ".join(call("data", "stats", tmp_path / "dataset").stderr.split())
    assert "the order of items carries little here" in told
    assert "100.0% of the test targets have the time of the item before them" in told
    measured = json.loads(run("data", "stats", tmp_path / "dataset", "--json"))
    assert measured["times"]["tied_target_share"] == 1.0
    assert measured["order"]["num_rows"] == 150


def test_given_rows_are_imported_trained_and_evaluated_as_they_are(shop, tmp_path):
    histories = Dataset.load(shop / "dataset").histories()
    rows = [
        (user, histories.of(row)[:at].tolist(), int(histories.of(row)[at]))
        for row, user in enumerate(histories.user_ids)
        for at in range(1, histories.lengths[row])
    ]
    size = len(rows)
    for part, begin, end in (("train", 0, 0.8), ("valid", 0.8, 0.9), ("test", 0.9, 1)):
        of_part = rows[round(begin * size) : round(end * size)]
        lines = [f'{user},"{history}",{target}\n' for user, history, target in of_part]
        (tmp_path / f"{part}.csv").write_text("user_id,history_item_id,item_id\n" + "".join(lines))
    dataset = tmp_path / "dataset"
    run("import", "minionerec", tmp_path, "--out", dataset, "--name", "given")
    split = Dataset.load(dataset).split
    assert split.train.num_targets == round(0.8 * size)
    run(*trained("sasrec", dataset, tmp_path / "run"))
    line = json.loads(run("evaluate", tmp_path / "run", "--split", "test", "--json"))
    assert line["setting"]["strategy"] == "given"
    assert len(split.test) == size - round(0.9 * size)


def test_a_sample_fits_the_catalog_of_all_users(shop, timed, tmp_path):
    told = json.loads(
        run("data", "sample", timed, "--users", 40, "--out", tmp_path / "some", "--json")
    )
    assert told["users"] == 40
    assert told["left_out"] == {"belong to users who were not drawn": ANY}
    assert told["remarks"] == [
        f"The split of {timed} is not copied: the new dataset has leave-one-out. For another "
        f"split: sidestep data split {tmp_path / 'some'} --strategy global-time"
    ]
    loaded = Dataset.load(tmp_path / "some")
    whole = Dataset.load(timed)
    assert len(loaded.interactions) + told["left_out"].popitem()[1] == len(whole.interactions)
    assert loaded.items.frame.equals(whole.items.frame)
    assert call(*trained("popularity", tmp_path / "some", tmp_path / "run")).exit_code == 0
    assert "choose another" in refused(
        "data", "sample", timed, "--users", 40, "--out", timed, "--overwrite"
    )
    assert "lies within the dataset" in refused(
        "data", "sample", timed, "--users", 40, "--out", timed / "some"
    )
    assert "choose a number from 1 to" in refused(
        "data", "sample", timed, "--users", 10**6, "--out", tmp_path / "more"
    )
    assert not (tmp_path / "more").exists()
