"""The diagnosis of a run, from the command line."""

import json

import pytest

from tests.cli.commands import call, refused, run


@pytest.fixture(scope="module")
def headed(shop, files, tmp_path_factory):
    """A run whose network has an item head."""
    folder = tmp_path_factory.mktemp("headed") / "run"
    run(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", folder, "--set", "model.item_head=true"),
        *("--set", "objective.item_weight=1"),
    )
    return folder


def diagnosed(*how):
    return json.loads(run("diagnose", *how, "--json"))


def test_a_run_is_diagnosed_in_numbers_that_agree_with_its_evaluation(shop, headed):
    narrow = ("--beams", 10, "--users", "all", "--prefixes", "all")
    [found] = diagnosed(headed, *narrow, "--vectors", shop / "vectors.npy", "--set-size", 12)
    names = ["log_prob", "item-support", "item-support + log_prob"]
    assert list(found["prefixes"]["scores"]) == names
    assert found["prefixes"]["is_exact"]
    beam, guided = found["searches"]
    assert (beam["name"], guided["name"]) == ("beam", "item-beam")
    for search in (beam, guided):
        how = ("--search", search["name"], "--beams", 10)
        if search is guided:
            how += ("--candidates", 40)
        metrics = json.loads(run("evaluate", headed, *how, "--json"))["metrics"]
        for at in search["depths"]:
            assert at["recalled"]["mean"] == pytest.approx(metrics[f"HRecall@{at['depth']}@50"])
        # The lost targets of all depths and the targets kept to the end are all targets.
        lost = [at[kind]["mean"] for at in search["depths"] for kind in ("dropped", "unproposed")]
        assert sum(lost) + search["depths"][-1]["kept"]["mean"] == pytest.approx(1)
        tokens = search["candidates"]["tokens"]["mean"]
        assert tokens == beam["candidates"]["tokens"]["mean"]
    for at in found["prefixes"]["scores"]["log_prob"]:
        assert 0 < at["auc"]["interval"]["low"] < at["auc"]["mean"] < at["auc"]["interval"]["high"]
        assert -1 <= at["correlation"]["mean"] <= 1
    sets = {one["name"]: one["candidates"] for one in found["candidate_sets"]}
    assert list(sets) == ["beam", "item-beam", "sampling"]
    for of in sets.values():
        assert of["size"]["mean"] == 12
        assert 0 < of["best_cosine"]["mean"] <= 1 + 1e-6


def test_every_level_may_have_a_weight_of_its_own(headed):
    weights = ("--likelihood-weight", "0.5,0,2")
    [found] = diagnosed(headed, "--users", "all", "--beams", 10, *weights)
    guided = ("--search", "item-beam", "--beams", 10, *weights)
    metrics = json.loads(run("evaluate", headed, *guided, "--json"))["metrics"]
    for at in found["searches"][1]["depths"]:
        assert at["recalled"]["mean"] == pytest.approx(metrics[f"HRecall@{at['depth']}@50"])
    [usual] = diagnosed(headed, "--users", "all", "--beams", 10)
    assert (found["likelihood_weight"], usual["likelihood_weight"]) == ([0.5, 0, 2], None)
    assert usual["searches"][0] == found["searches"][0]
    assert usual["searches"][1] != found["searches"][1]


def test_the_oracle_is_the_exhaustive_search(headed):
    [found] = diagnosed(headed, "--users", "all", "--prefixes", "all")
    scores = found["prefixes"]["scores"]
    searches = {"log_prob": "exhaustive", "item-support + log_prob": "exhaustive-item"}
    for name, search in searches.items():
        metrics = json.loads(run("evaluate", headed, "--search", search, "--json"))["metrics"]
        for at in scores[name]:
            assert at["oracle"]["mean"] == pytest.approx(metrics[f"HRecall@{at['depth']}@50"])


def test_fewer_prefixes_tell_about_the_same_without_an_oracle(headed):
    whole, some = (
        diagnosed(headed, "--users", "all", "--prefixes", number)[0]["prefixes"]
        for number in ("all", 10)
    )
    assert not some["is_exact"]
    for name, depths in whole["scores"].items():
        for exact, at in zip(depths, some["scores"][name], strict=True):
            assert at["auc"]["mean"] == pytest.approx(exact["auc"]["mean"], abs=0.1)
            assert at["hard_auc"]["mean"] == pytest.approx(exact["hard_auc"]["mean"])
            assert at["oracle"] is None
            assert at["correlation"] is None


def test_the_page_shows_the_search_trees_of_a_user(shop, headed, tmp_path):
    page = tmp_path / "page.html"
    how = ("--users", 20, "--beams", 5, "--report", page)
    run("diagnose", headed, *how, "--user", "user-3", "--json")
    text = page.read_text()
    assert "User user-3, who last took" in text
    for title in ("beam", "item-beam"):
        assert f"<h3>{title}</h3>" in text
    assert text.count("✓ the target") == 2
    some = tmp_path / "some.html"
    run("diagnose", headed, *how[:-1], some)
    assert "User user-" in some.read_text()
    assert "no such user" in refused("diagnose", headed, *how, "--user", "nobody")
    assert "only a page shows search trees" in refused("diagnose", headed, "--user", "user-3")


def test_tables_say_it_in_words_and_what_is_missing(shop, headed):
    done = call("diagnose", headed, shop / "beam", "--users", 30, "--beams", 5)
    assert done.exit_code == 0
    for words in ("30 users", "scores of prefixes", "Where run loses the target", "unproposed"):
        assert words in done.stdout
    assert "Candidate sets of beam" in done.stdout
    assert "nothing is correlated" in done.stderr


def test_what_cannot_be_diagnosed_is_refused(shop, headed, tmp_path):
    (tmp_path / "popularity.yaml").write_text("kind: popularity")
    flat = ("--dataset", shop / "dataset", "--out", tmp_path / "popularity")
    run("train", "--config", tmp_path / "popularity.yaml", *flat)
    assert "searches nothing" in refused("diagnose", tmp_path / "popularity")
    assert "'some': write 'all'" in refused("diagnose", headed, "--prefixes", "some")
    assert "at least num_beams" in refused("diagnose", headed, "--candidates", 9)
    weights = ("--likelihood-weight", "1,0.5")
    assert "likelihood alone" in refused("diagnose", shop / "beam", "--likelihood-weight", 1)
    assert "2 values, but semantic IDs have 3" in refused("diagnose", headed, *weights)
