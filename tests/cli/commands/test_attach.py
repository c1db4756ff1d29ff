"""A ranker beside a run, by commands: attached, evaluated, compared, used to recommend."""

import json
import shutil

import pytest

import sidestep
from sidestep.data.dataset import Dataset
from sidestep.evaluation.results import read as read_lines
from tests.cli.beside import measured
from tests.cli.commands import call, refused, run

SASREC = """\
kind: sasrec
max_history: 10
model: {dim: 16, num_layers: 1, num_heads: 2, max_items: 10}
training: {epochs: 1, batch_size: 64}
validation: {num_users: 30}
"""


@pytest.fixture(scope="module")
def sasrec(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sasrec")
    (folder / "sasrec.yaml").write_text(SASREC)
    out = folder / "sasrec"
    run("train", "--config", folder / "sasrec.yaml", "--dataset", shop / "dataset", "--out", out)
    return out


@pytest.fixture(scope="module")
def guided(shop, sasrec, tmp_path_factory):
    out = tmp_path_factory.mktemp("guided") / "guided"
    attach = ("attach", shop / "beam", "--ranker", sasrec, "--out", out, "--weight", 2)
    said = call(*attach, "--likelihood-weight", 0.25).stderr
    assert f"sidestep evaluate {out}" in "".join(said.splitlines())
    return out


def test_a_ranker_guides_the_search_of_a_run_without_an_item_head(shop, sasrec, guided):
    plain = measured(guided, "--search", "beam", "--beams", 10)
    assert plain["metrics"] == measured(shop / "beam", "--beams", 10)["metrics"]
    assert (plain["method"], "ranker" in plain["setting"]) == ("beam", False)
    line = measured(guided, "--search", "item-beam", "--beams", 10)
    assert line["method"] == "item-beam+sasrec"
    assert line["setting"]["ranker"] == 2
    took = [measured(of, "--users", 5)["train_s"] for of in (shop / "beam", sasrec)]
    assert line["train_s"] == pytest.approx(sum(took))
    assert line["setting"]["likelihood_weight"] == 0.25
    assert line["metrics"] != plain["metrics"]
    assert "take the search item-head" in refused("evaluate", guided, "--search", "item-index")
    every = measured(guided, "--search", "item-head")
    assert (every["method"], every["setting"]["ranker"]) == ("item-head+sasrec", 2)
    other = measured(guided, "--search", "item-beam", "--beams", 10, "--likelihood-weight", 1)
    assert other["setting"]["likelihood_weight"] == 1
    assert other["per_user"] != line["per_user"]


def test_wide_enough_it_ranks_as_the_exhaustive_product(shop, guided):
    width = len(Dataset.load(shop / "dataset").items)
    wide = measured(guided, "--search", "item-beam", "--beams", width, "--candidates", width)
    ceiling = measured(guided, "--search", "exhaustive-item")
    later = ("--beams", width, "--candidates", f"none,{width},{width}")
    assert measured(guided, "--search", "item-beam", *later)["metrics"] == wide["metrics"]
    for name in ("HR@1", "HR@10", "NDCG@10"):
        assert wide["metrics"][name] == pytest.approx(ceiling["metrics"][name], abs=1e-6)


def test_two_sasrecs_are_a_row_of_their_own(sasrec, tmp_path):
    out, results = tmp_path / "two", tmp_path / "results.jsonl"
    run("attach", sasrec, "--ranker", sasrec, "--out", out, "--weight", 1)
    run("evaluate", out, "--results", results)
    (line,) = read_lines(results)
    assert (line.method, line.setting.ranker) == ("sasrec+sasrec", 1)
    # Counting the same scores twice gives the same ranking.
    assert line.metrics == measured(sasrec)["metrics"]


def test_whatever_tells_of_searches_tells_of_the_ranker(guided, tmp_path):
    few = ("--users", 5, "--json")
    grown = ("scale", guided, "--times", "1,2", "--beams", 4, "--report", tmp_path / "page.html")
    scaled = json.loads(run(*grown, *few, "--searches", "beam,item-beam"))
    assert [point["search"] for point in scaled["points"]] == [
        *("beam", "beam"),
        *("item-beam+sasrec", "item-beam+sasrec"),
    ]
    ceilings = {name: point["search"] for name, point in scaled["ceilings"].items()}
    assert ceilings == {"beam": "exhaustive", "item-beam+sasrec": "exhaustive-item+sasrec"}
    looked = json.loads(run("diagnose", guided, "--beams", 4, "--set-size", 4, *few))
    assert "item-beam+sasrec" in {search["name"] for search in looked[0]["searches"]}


def test_a_report_shows_the_run_that_was_attached_to(guided, tmp_path):
    page = tmp_path / "page.html"
    run("evaluate", guided, "--search", "item-beam", "--beams", 10, "--report", page)
    assert "item-beam+sasrec" in page.read_text()


def test_a_recommendation_may_go_by_it(shop, guided):
    history = ("--user", "user-3", "--dataset", shop / "dataset")
    answer = json.loads(run("recommend", guided, *history, "--search", "item-beam", "--json"))
    assert answer["score_kind"] == "item-support + log_prob"
    assert len(answer["items"]) == 10


def test_a_ranker_in_the_place_of_another_leaves_nothing_of_it(shop, sasrec, guided, tmp_path):
    out = tmp_path / "again"
    said = call("attach", guided, "--ranker", sasrec, "--weight", 3, "--out", out).stderr
    assert "Warning: the ranker that stood beside this run is left out of the new one." in said
    again, once = (
        measured(of, "--search", "item-beam", "--beams", 4, "--users", 5) for of in (out, guided)
    )
    assert (again["setting"]["ranker"], again["train_s"]) == (3, pytest.approx(once["train_s"]))


def test_a_lost_ranker_and_a_lost_configuration_say_what_to_do(sasrec, guided, tmp_path):
    lost = tmp_path / "lost"
    shutil.copytree(guided, lost)
    (lost / "config.yaml").unlink()
    said = refused("attach", lost, "--ranker", sasrec, "--out", tmp_path / "out")
    assert f"{lost / 'config.yaml'}: missing from the run; restore the file" in said
    (lost / "bundle/ranker.safetensors").unlink()
    assert "or repeat what wrote it: 'sidestep train' or 'sidestep attach'." in refused(
        "evaluate", lost
    )
    assert [path.name for path in tmp_path.iterdir()] == ["lost"]


def test_what_cannot_be_attached_leaves_nothing_behind(shop, sasrec, guided, tmp_path):
    out = tmp_path / "out"
    attach = ("attach", shop / "beam", "--out", out)
    assert "name a run or a bundle of kind sasrec" in refused(*attach, "--ranker", shop / "beam")
    assert "no bundle here" in refused(*attach, "--ranker", tmp_path / "nowhere")
    for weight in (0, -1, "nan", "inf"):
        said = refused(*attach, "--ranker", sasrec, "--weight", weight)
        assert "write a number above 0" in said
    said = refused("attach", shop / "beam", "--ranker", sasrec, "--out", guided)
    assert "exists; choose another place for --out, or replace what is there" in said
    assert not out.exists()


def test_without_head_and_ranker_the_search_says_where_to_get_one(shop):
    said = refused("evaluate", shop / "beam", "--search", "item-beam")
    assert "neither an item head nor a ranker" in said
    assert "sidestep attach" in said


def test_training_does_not_replace_what_was_attached(shop, guided, files):
    train = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    said = refused(*train, "--catalog", shop / "catalog", "--out", guided)
    assert "holds a run with a ranker attached" in said


def test_a_weight_of_likelihood_is_refused_where_there_is_none(sasrec, tmp_path):
    attach = ("attach", sasrec, "--ranker", sasrec, "--out", tmp_path / "out")
    assert "which has no log π" in refused(*attach, "--likelihood-weight", 1)
    assert not (tmp_path / "out").exists()


def test_a_ranker_of_other_data_is_refused_wherever_data_is_named(shop, guided):
    file = guided / "bundle/manifest.json"
    kept = file.read_text()
    manifest = json.loads(kept)
    manifest["data"] = {}  # as in the manifest of a network from elsewhere
    manifest["parts"]["ranker"]["data"]["interactions"] = "other"
    file.write_text(json.dumps(manifest))
    try:
        said = refused("evaluate", guided, "--search", "item-beam")
    finally:
        file.write_text(kept)
    assert "the ranker beside this bundle was trained on another dataset" in said


def test_a_graph_guides_the_search_of_a_run(shop, tmp_path):
    (tmp_path / "graph.yaml").write_text("kind: graph")
    train = ("train", "--config", tmp_path / "graph.yaml", "--dataset", shop / "dataset")
    run(*train, "--out", tmp_path / "graph")
    attach = ("attach", shop / "beam", "--ranker", tmp_path / "graph", "--weight", 120)
    run(*attach, "--out", tmp_path / "both")
    wide = ("--search", "item-beam", "--beams", 100, "--candidates", 100)
    line = measured(tmp_path / "both", *wide, "--likelihood-weight", 0)
    assert (line["method"], line["setting"]["ranker"]) == ("item-beam+graph", 120)
    alone = measured(tmp_path / "graph")
    assert line["metrics"]["HR@10"] == pytest.approx(alone["metrics"]["HR@10"])
    # Where popularity alone orders items, float32 may order them otherwise.
    assert line["metrics"]["NDCG@10"] == pytest.approx(alone["metrics"]["NDCG@10"], abs=0.005)


def test_validation_chooses_the_weight_of_a_graph_where_the_dataset_is_known(shop, tmp_path):
    (tmp_path / "graph.yaml").write_text("kind: graph")
    train = ("train", "--config", tmp_path / "graph.yaml", "--dataset", shop / "dataset")
    run(*train, "--out", tmp_path / "graph")
    said = call("attach", shop / "beam", "--ranker", tmp_path / "graph", "--out", tmp_path / "a")
    [line] = [line for line in said.stderr.splitlines() if line.startswith("Note: Weight ")]
    weight = sidestep.load(tmp_path / "a").ranker_use.weight
    training = sidestep.load(tmp_path / "a").manifest.training
    assert (training["trials"], len(training["ranker_weights"])) == (9, 9)
    assert max(training["ranker_weights"].values()) == training["ranker_weights"][f"{weight:g}"]
    assert line.startswith(
        f"Note: Weight {weight:g}: of 9 weights, it has the highest NDCG@10 on 80 "
    )
    bundle = ("attach", shop / "beam" / "bundle", "--ranker", tmp_path / "graph")
    said = call(*bundle, "--out", tmp_path / "b")
    assert "Note: The weight is 120, because validation cannot choose one: " in said.stderr
    assert sidestep.load(tmp_path / "b").ranker_use.weight == 120
    run(*bundle, "--out", tmp_path / "d", "--dataset", shop / "dataset")
    assert sidestep.load(tmp_path / "d").ranker_use.weight == weight
    moved = tmp_path / "moved"
    shutil.copytree(shop / "beam", moved)
    info = json.loads((moved / "run.json").read_text())
    (moved / "run.json").write_text(json.dumps({**info, "dataset": "gone"}))
    said = call("attach", moved, "--ranker", tmp_path / "graph", "--out", tmp_path / "c")
    assert "Note: The weight is 120, because validation cannot choose one: " in said.stderr
    assert sidestep.load(tmp_path / "c").ranker_use.weight == 120


def test_an_attached_run_may_be_replaced_and_no_other_run(shop, sasrec, tmp_path):
    attach = ("attach", shop / "beam", "--ranker", sasrec)
    run(*attach, "--out", tmp_path / "both", "--weight", 1)
    run(*attach, "--out", tmp_path / "both", "--weight", 3, "--overwrite")
    assert sidestep.load(tmp_path / "both").ranker_use.weight == 3
    trained = tmp_path / "trained"
    shutil.copytree(shop / "beam", trained)
    said = refused(*attach, "--out", trained, "--overwrite")
    assert "is no run that 'sidestep attach' wrote" in said
    assert sidestep.load(trained).ranker_use is None
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    refused(*attach, "--out", tmp_path / "notes", "--overwrite")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"


def test_an_attached_run_recommends_by_its_ranker(shop, tmp_path):
    (tmp_path / "graph.yaml").write_text("kind: graph")
    train = ("train", "--config", tmp_path / "graph.yaml", "--dataset", shop / "dataset")
    run(*train, "--out", tmp_path / "graph")
    run("attach", shop / "beam", "--ranker", tmp_path / "graph", "--out", tmp_path / "both")
    both = sidestep.load(tmp_path / "both")
    line = measured(tmp_path / "both", "--users", 20)
    assert line["method"] == "item-beam+graph"
    assert line["setting"]["likelihood_weight"] == both.ranker_use.guidance.likelihood_weight
    histories = [["item-1", "item-2"], []]
    by_search = both.recommend(histories, 5, search=both._own_search(50))
    assert both.recommend(histories, 5) == by_search
    assert both.recommend(histories, 5) != sidestep.load(shop / "beam").recommend(histories, 5)
