"""Columns as inputs by commands: trained, evaluated, and asked with the table of users."""

import json
import shutil
from dataclasses import replace

import polars as pl
import pytest

from sidestep.bundle.folder import load
from sidestep.data.dataset import Dataset
from sidestep.data.users import UserTable

from .commands import call, refused, run


def describe(shop, folder, **columns):
    """Saves the shop's dataset with a table of users, whose values take turns."""
    dataset = Dataset.load(shop / "dataset")
    ids = list(dataset.histories().user_ids)
    cells = {
        name: [values[row % len(values)] for row in range(len(ids))]
        for name, values in columns.items()
    }
    replace(dataset, users=UserTable(pl.DataFrame({"user_id": ids, **cells}))).save(folder)


@pytest.fixture
def described(shop, tmp_path):
    """The shop's dataset, in which every user has one of two towns."""
    describe(shop, tmp_path / "dataset", town=("Bonn", "Kiel"))
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

    def asked(*options):
        found = json.loads(run("recommend", tmp_path / "run", *options, "--json"))
        return [item["score"] for item in found["items"]]

    # Values replace those of the table, and describe a user who stands in none.
    [other] = loaded.recommend([answer["history"]], k=10, user_info=[{"town": "Bonn"}])
    assert asked("--user", "user-3", "--user-value", "town=Bonn") == other.scores != scores
    history = ("--history", ",".join(answer["history"]))
    assert asked(*history, "--user-value", "town = Kiel") == known.scores
    assert asked(*history) == unknown.scores
    told = call("recommend", tmp_path / "run", *history, "--user-value", "town=Rome").stderr
    assert "no user of the training had the value 'Rome' in town" in " ".join(told.split())
    refuse = ("recommend", tmp_path / "run", *history, "--user-value")
    assert "--user-value 'town': write column=value" in refused(*refuse, "town")
    assert "reads no column 'age' of users, only town" in refused(*refuse, "age=31")
    twice = refused(*refuse, "town=Kiel", "--user-value", "town=Bonn")
    assert "the column town has one value per user, and 'Kiel' was given before" in twice


def test_values_that_nobody_reads_are_refused(shop):
    asked = ("recommend", shop / "beam", "--history", "item-1", "--user-value", "town=Kiel")
    assert "this semantic-id-transformer reads no columns of users" in refused(*asked)


def test_values_of_a_column_with_a_separator_are_joined(shop, tmp_path):
    describe(shop, tmp_path / "dataset", likes=("sea", "art|war"))
    settings = ("kind=sasrec", "model.user_columns.likes='|'", "model.dim=16", "training.epochs=1")
    given = [word for setting in settings for word in ("--set", setting)]
    run("train", *given, "--dataset", tmp_path / "dataset", "--out", tmp_path / "run")
    asked = ("recommend", tmp_path / "run", "--history", "item-1", "--json", "--user-value")
    together = run(*asked, "likes=sea|war")
    assert run(*asked, "likes=sea", "--user-value", "likes=war") == together
    assert run(*asked, "likes=sea") != together


def test_a_dataset_without_users_is_refused(shop, tmp_path):
    given = ("--set", "kind=sasrec", "--set", "model.user_columns.town=null")
    told = refused("train", *given, "--dataset", shop / "dataset", "--out", tmp_path / "r")
    assert "model.user_columns reads columns of users" in told
    given = ("--set", "kind=sasrec", "--set", "model.item_columns.colour=null")
    told = refused("train", *given, "--dataset", shop / "dataset", "--out", tmp_path / "r")
    assert "model.item_columns: there is no column 'colour'; there are:" in told


def test_another_table_of_users_is_other_data_for_who_reads_it(shop, described, tmp_path):
    """A run that reads no users stays what it is, whatever becomes of their table."""
    small = ("kind=sasrec", "model.dim=16", "training.epochs=1")
    reading = (*small, "model.user_columns.town=null")
    for name, settings in (("reads", reading), ("blind", small)):
        given = [word for setting in settings for word in ("--set", setting)]
        run("train", *given, "--dataset", described, "--out", tmp_path / name)
    run("evaluate", tmp_path / "reads", "--users", 10)
    shutil.rmtree(described)
    describe(shop, described, town=("Bonn", "Rome"))
    assert "different users; give the one it was trained on" in refused(
        *("evaluate", tmp_path / "reads", "--users", 10)
    )
    run("evaluate", tmp_path / "blind", "--users", 10)
    shutil.rmtree(described)
    shutil.copytree(shop / "dataset", described)
    run("evaluate", tmp_path / "blind", "--users", 10)
