"""What an evaluation, and a list for a user without a history, say of themselves."""

import json

import pytest

from tests.cli.commands import call, run

REPEATERS = "user_id,item_id\n" + "".join(
    f"u{user},{item}\n" for user, items in enumerate(("kbk", "bck", "cdd", "dbk")) for item in items
)
"""Of the last items, those of the first and the third user stand in their history."""


@pytest.fixture(scope="module")
def repeaters(tmp_path_factory):
    """The run of kind popularity on users of whom half take an item again."""
    folder = tmp_path_factory.mktemp("repeaters")
    (folder / "log.csv").write_text(REPEATERS)
    (folder / "popularity.yaml").write_text("kind: popularity\nmax_history: 1\n")
    run("import", "table", folder / "log.csv", "--out", folder / "dataset")
    train = ("train", "--config", folder / "popularity.yaml", "--dataset", folder / "dataset")
    run(*train, "--out", folder / "run")
    return folder / "run"


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_targets_that_no_list_can_hold_are_counted(repeaters, more):
    asked = ("evaluate", repeaters, "--split", "test", *more)
    said = " ".join(call(*asked, "--exclude-seen").stderr.split())
    assert "2 of 4 targets (50.0%) are items that their user had taken before" in said
    assert "had taken before" not in call(*asked).stderr


def test_seen_items_are_left_out_wherever_they_stand_in_the_history(repeaters):
    line = json.loads(run("evaluate", repeaters, "--split", "test", "--exclude-seen", "--json"))[
        "metrics"
    ]
    # All items are equally popular; the other two users can get one of two items each.
    assert line["HR@1"] == pytest.approx(2 / 4 * 1 / 2)
    assert line["invalid_rate"] == 0.0


def test_a_network_that_learned_nothing_of_users_without_a_history_says_so(shop, files, tmp_path):
    asked = ("--history", "nothing", "--k", 3)
    assert "Warning" not in call("recommend", shop / "beam", *asked).stderr
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    run(*train, "--catalog", shop / "catalog", "--out", tmp_path, "--set", "min_context=1")
    said = " ".join(call("recommend", tmp_path, *asked).stderr.split())
    assert "trained to predict no user's first item" in said
    assert "Train it with 'min_context: 0'" in said
    assert "Warning" not in call("recommend", tmp_path, "--history", "item-5", "--k", 3).stderr
