"""Lists for all users: the lists of single requests, each file whole or absent, none twice."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from sidestep.bundle.folder import load
from sidestep.runs.inputs import load_dataset
from sidestep.runs.recommending_all import (
    DatasetUsers,
    ParquetUsers,
    ShardMaker,
    Wanted,
    recommend_all,
)
from sidestep.runs.searches import AskedSearch


@pytest.fixture(scope="module")
def recommender(shop):
    return load(shop / "beam", device="cpu")


@pytest.fixture(scope="module")
def dataset(shop):
    return load_dataset(shop / "dataset")


def lists(folder):
    """Lists by user, from all files of a folder."""
    frame = pl.concat([pl.read_parquet(file) for file in sorted(folder.glob("part-*.parquet"))])
    assert frame.select(pl.struct("user_id", "rank").is_duplicated().any()).item() is False
    return {
        user[0]: rows.sort("rank")["item_id"].to_list()
        for user, rows in frame.group_by("user_id", maintain_order=True)
    }


def test_all_users_of_a_dataset_get_the_lists_of_single_requests(recommender, dataset, tmp_path):
    users = DatasetUsers(dataset, users_per_shard=20)
    written = recommend_all(
        ShardMaker(recommender, users, Wanted(k=4, exclude_seen=True), tmp_path / "out")
    )
    histories = dataset.histories().inputs()
    assert written.users == len(histories)
    assert written.made == written.shards == -(-len(histories) // 20)
    found = lists(tmp_path / "out")
    assert [*found] == [*histories.user_ids]
    for row in (0, 19, 20, len(histories) - 1):
        past = [dataset.items.item_ids[item] for item in histories.of(row)]
        [alone] = recommender.recommend([past], 4, exclude_seen=True)
        assert found[histories.user_ids[row]] == alone.item_ids


def test_a_search_may_be_named(recommender, dataset, tmp_path):
    users = DatasetUsers(dataset, users_per_shard=1000)
    narrow = Wanted(k=3, search=AskedSearch(name="beam", beams=3))
    recommend_all(ShardMaker(recommender, users, narrow, tmp_path / "out"))
    histories = dataset.histories().inputs()
    past = [dataset.items.item_ids[item] for item in histories.of(0)]
    policy = AskedSearch(name="beam", beams=3).policy(recommender, num_leaves=3)
    [alone] = recommender.recommend([past], 3, search=policy)
    assert lists(tmp_path / "out")[histories.user_ids[0]] == alone.item_ids


def test_files_that_are_there_are_not_made_again(recommender, dataset, tmp_path):
    users, wanted = DatasetUsers(dataset, users_per_shard=20), Wanted(k=2)
    recommend_all(ShardMaker(recommender, users, wanted, tmp_path / "out"))
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "part-00001.parquet").unlink()
    again = recommend_all(ShardMaker(recommender, users, wanted, tmp_path / "out"))
    assert again.made == 1
    changed = {
        file.name
        for file in (tmp_path / "out").iterdir()
        if file.stat().st_mtime_ns != kept[file.name]
    }
    assert changed == {"part-00001.parquet"}
    with pytest.raises(ValueError, match="holds lists of another k; choose another folder"):
        recommend_all(ShardMaker(recommender, users, Wanted(k=3), tmp_path / "out"))
    with pytest.raises(ValueError, match="holds lists of another precision"):
        recommend_all(
            ShardMaker(recommender, users, Wanted(k=2, precision="bf16"), tmp_path / "out")
        )
    rounded = Wanted(precision="bf16")
    recommend_all(ShardMaker(recommender, users, rounded, tmp_path / "bf16"))
    with pytest.raises(ValueError, match="holds lists of another precision"):
        recommend_all(ShardMaker(recommender, users, Wanted(), tmp_path / "bf16"))


def test_a_folder_of_something_else_stays_as_it_is(recommender, dataset, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"exists and holds no plan\.json"):
        recommend_all(
            ShardMaker(recommender, DatasetUsers(dataset, users_per_shard=9), Wanted(), tmp_path)
        )
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_histories_of_parquet_files_are_answered_file_by_file(recommender, dataset, tmp_path):
    item = dataset.items.item_ids[0]
    (tmp_path / "in").mkdir()
    for name, rows in {
        "a": [("u1", [item]), ("u2", [])],
        "b": [("u3", ["unknown", item])],
    }.items():
        pl.DataFrame(
            rows, schema={"user_id": pl.String, "history": pl.List(pl.String)}, orient="row"
        ).write_parquet(tmp_path / "in" / f"{name}.parquet")
    users = ParquetUsers(tmp_path / "in")
    written = recommend_all(ShardMaker(recommender, users, Wanted(k=3), tmp_path / "out"))
    assert (written.shards, written.users, written.num_unknown) == (2, 3, 1)
    found = lists(tmp_path / "out")
    assert found["u1"] == found["u3"] == recommender.recommend([[item]], 3)[0].item_ids
    assert found["u2"] == recommender.recommend([[]], 3)[0].item_ids


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (
            {"user": ["u"], "history": [["a"]]},
            "a column user_id of type String, and has none",
        ),
        ({"user_id": [1], "history": [["a"]]}, "has user_id of type Int64"),
        ({"user_id": ["u"], "history": ["a"]}, "has history of type String"),
        ({"user_id": ["u", "u"], "history": [["a"], ["b"]]}, "the user 'u' stands there twice"),
        ({"user_id": ["u", None], "history": [["a"], ["b"]]}, "a user_id or a history is missing"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(recommender, tmp_path, frame, words):
    pl.DataFrame(frame).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(ValueError, match=words):
        recommend_all(
            ShardMaker(
                recommender, ParquetUsers(tmp_path / "in.parquet"), Wanted(), tmp_path / "out"
            )
        )
    assert not [*(tmp_path / "out").glob("part-*")]


def test_after_a_kill_the_same_command_makes_the_rest(shop, dataset, tmp_path):
    command = [sys.executable, "-m", "sidestep", "recommend-all", shop / "beam", "--k", 2]
    command += ["--dataset", shop / "dataset", "--shard-users", 1, "--out", tmp_path / "out"]
    words = [*map(str, command)]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len([*(tmp_path / "out").glob("part-*.parquet")]) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {*(tmp_path / "out").glob("part-*.parquet")}
    assert 3 <= len(before) < len(dataset.histories())
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "the others were there" in done.stderr
    found = lists(tmp_path / "out")
    assert {*found} == {*dataset.histories().user_ids}
    assert np.unique([len(items) for items in found.values()]).tolist() == [2]
