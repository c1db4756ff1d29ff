"""Columns as inputs by commands: trained, evaluated, and asked with the table of users."""

import json
from dataclasses import replace

import polars as pl
import pytest

from sidestep.bundle.folder import load
from sidestep.data.dataset import Dataset
from sidestep.data.users import UserTable

from .commands import refused, run


@pytest.fixture
def described(shop, tmp_path):
    """The shop's dataset, in which every other user has a town."""
    dataset = Dataset.load(shop / "dataset")
    ids = list(dataset.histories().user_ids)
    towns = ["Kiel" if row % 2 else "Bonn" for row in range(len(ids))]
    users = UserTable(pl.DataFrame({"user_id": ids, "town": towns}))
    replace(dataset, users=users).save(tmp_path / "dataset")
    return tmp_path / "dataset"


def test_a_user_of_the_dataset_is_asked_with_what_describes_the_user(described, tmp_path):
    settings = (
        "kind=sasrec",
        "model.item_columns.title=' '",
        "model.user_columns.town=null",
        "model.dim=16",
        "training.epochs=1",
    )
    given = [word for setting in settings for word in ("--set", setting)]
    run("train", *given, "--dataset", described, "--out", tmp_path / "run")
    run("evaluate", tmp_path / "run", "--results", tmp_path / "results.jsonl")
    answer = json.loads(run("recommend", tmp_path / "run", "--user", "user-3", "--json"))
    loaded = load(tmp_path / "run" / "bundle", device="cpu")
    assert list(loaded.user_columns) == ["town"]
    users = Dataset.load(described).users.of(["user-3"])
    [known] = loaded.recommend([answer["history"]], k=10, user_info=users)
    [unknown] = loaded.recommend([answer["history"]], k=10)
    scores = [item["score"] for item in answer["items"]]
    assert scores == known.scores
    assert scores != unknown.scores


def test_a_dataset_without_users_is_refused(shop, tmp_path):
    given = ("--set", "kind=sasrec", "--set", "model.user_columns.town=null")
    told = refused("train", *given, "--dataset", shop / "dataset", "--out", tmp_path / "r")
    assert "model.user_columns reads columns of users" in told
    given = ("--set", "kind=sasrec", "--set", "model.item_columns.colour=null")
    told = refused("train", *given, "--dataset", shop / "dataset", "--out", tmp_path / "r")
    assert "model.item_columns: there is no column 'colour'; there are:" in told
