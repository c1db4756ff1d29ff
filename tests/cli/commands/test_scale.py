"""Sweeps of the budgets of a run's searches."""

import json
from pathlib import Path

import pytest

from sidestep.cli.commands.scale import read_times
from sidestep.evaluation.results import read as read_lines
from sidestep.runs.budgets import budgeted, ceiling_of
from tests.cli.commands import refused, run


@pytest.fixture(scope="module")
def headed(shop, files, tmp_path_factory):
    """A run whose network has an item head."""
    folder = tmp_path_factory.mktemp("scaled") / "run"
    run(
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", folder, "--set", "model.item_head=true"),
        *("--set", "objective.item_weight=1"),
    )
    return folder


SWEEP = ("--searches", "beam,item-beam", "--beams", 3, "--times", "1,4", "--users", 40)


@pytest.fixture(scope="module")
def swept(headed):
    """Result of the sweep, and the time at which each evaluation was written."""
    told = json.loads(run("scale", headed, *SWEEP, "--json"))
    files = sorted((headed / "evaluations").glob("*/metrics.json"))
    return told, {path.parent.name: path.stat().st_mtime_ns for path in files}


def test_what_the_run_has_the_parts_for_is_swept(headed):
    plan = json.loads(run("scale", headed, "--users", 40, "--dry-run", "--json"))
    assert plan["searches"] == "beam, item-beam, sampling"


def test_a_ceiling_that_searches_share_is_planned_once(headed):
    asked = ("--searches", "beam,sampling", "--times", "1,2", "--users", 40, "--dry-run", "--json")
    assert json.loads(run("scale", headed, *asked))["evaluations"] == 5


def test_a_value_head_would_be_asked_at_more_candidates_and_more_tokens():
    few = budgeted("value-beam", 2, beams=5, weight=0.5, num_levels=3)
    assert (few.asked.beams, few.asked.candidates, few.words) == (5, 10, "K+ = 10")
    assert few.asked.likelihood_weight == 0.5
    tokens = budgeted("ved", 3, beams=5, weight=0.5, num_levels=3)
    assert (tokens.asked.beams, tokens.asked.budget) == (5, 3)
    assert (tokens.asked.likelihood_weight, tokens.words) == (None, "3 × tokens of K = 5")
    assert ceiling_of("ved", weight=None) is None


def test_the_warm_start_of_every_budget_fits_the_smallest():
    for beams, num_levels in [(2, 3), (3, 2), (5, 4), (16, 3), (50, 3)]:
        searches = [
            budgeted("ved", times, beams=beams, weight=None, num_levels=num_levels).asked
            for times in (1, 4)
        ]
        small, large = (search.options.get("warm_width", 8) for search in searches)
        assert small == large <= 8
        spent = 1 + small * num_levels
        assert spent < 1 + (num_levels - 1) * beams <= spent + num_levels or small == 8
    with pytest.raises(ValueError, match="--beams 1: ved needs at least 5 tokens of 3 codes, and"):
        budgeted("ved", 4, beams=1, weight=None, num_levels=3)


def test_every_search_grows_by_its_own_budget(swept):
    told, _ = swept
    points = {(point["search"], point["budget"]): point for point in told["points"]}
    assert list(points) == [
        *(("beam", "K = 3"), ("beam", "K = 12"), ("item-beam", "K+ = 3"), ("item-beam", "K+ = 12")),
    ]
    narrow, wide, few, many = points.values()
    # Levels of 4, 4 and 16 codes: the root, then as many prefixes as are kept of lengths 1 and 2.
    assert narrow["tokens_per_user"] == few["tokens_per_user"] == many["tokens_per_user"] == 7
    assert wide["tokens_per_user"] > 7
    assert narrow["scored_per_user"] == wide["scored_per_user"] == 0
    assert 0 < few["scored_per_user"] <= 9 < many["scored_per_user"]
    assert narrow["flops_per_user"] < wide["flops_per_user"]
    # The item head reads the root once, for any number of prefixes.
    assert narrow["flops_per_user"] < few["flops_per_user"] == many["flops_per_user"]
    assert all(point["ms_per_user"] > 0 for point in told["points"])


def test_no_search_beats_what_ranks_every_item_at_finding_its_best(swept, headed):
    told, _ = swept
    assert {name: point["search"] for name, point in told["ceilings"].items()} == {
        "beam": "exhaustive",
        "item-beam": "exhaustive-item",
    }
    as_wide = (*SWEEP[:2], "--beams", 64, "--times", 1, "--users", 40, "--json")
    widest = json.loads(run("scale", headed, *as_wide, "--report", headed / "wide.html"))
    for point in widest["points"]:
        ceiling = told["ceilings"][point["search"]]
        assert point["metrics"]["NDCG@10"] == pytest.approx(ceiling["metrics"]["NDCG@10"])
        assert point["tokens_per_user"] == ceiling["tokens_per_user"]


def test_the_page_shows_it_all(swept):
    text = Path(swept[0]["path"]).read_text(encoding="utf-8")
    for words in ("K+ = 12", "exhaustive-item", "Against FLOPs", "MFLOPs per user, log scale"):
        assert words in text


def test_what_was_measured_is_not_measured_again(swept, headed):
    told, before = swept
    plan = json.loads(run("scale", headed, *SWEEP, "--dry-run", "--json"))
    assert (plan["rows"], plan["evaluations"], plan["measured before"]) == (40, 6, 6)
    assert json.loads(run("scale", headed, *SWEEP, "--json")) == told
    now = (headed / "evaluations").glob("*/metrics.json")
    assert {path.parent.name: path.stat().st_mtime_ns for path in now}.items() >= before.items()
    # Another batch size has other times.
    plan = json.loads(run("scale", headed, *SWEEP, "--batch-size", 7, "--dry-run", "--json"))
    assert plan["measured before"] == 0


@pytest.mark.parametrize("change", [{"bundle": "of other weights"}, {"format_version": 1}])
def test_what_was_measured_of_other_weights_or_otherwise_is_measured_again(swept, headed, change):
    told, _ = swept
    kept = next((headed / "evaluations").glob("validation-beam-12-*/metrics.json"))
    text = kept.read_text()
    content = json.loads(text)
    assert content["metrics"] == told["points"][1]["metrics"]
    try:
        kept.write_text(json.dumps({**content, **change}))
        plan = json.loads(run("scale", headed, *SWEEP, "--dry-run", "--json"))
        assert plan["measured before"] == 5
    finally:
        kept.write_text(text)


def test_results_have_a_line_per_evaluation_and_none_twice(swept, headed, tmp_path):
    results = tmp_path / "quality.jsonl"
    for _ in range(2):
        run("scale", headed, *SWEEP, "--no-ceiling", "--results", results)
    lines = read_lines(results)
    assert [(line.method, line.setting.beams, line.setting.k_plus) for line in lines] == [
        *(("beam", 3, None), ("beam", 12, None), ("item-beam", 3, 3), ("item-beam", 3, 12)),
    ]
    assert [line.flops_per_user for line in lines] == [
        point["flops_per_user"] for point in swept[0]["points"]
    ]
    assert not any(line.selected for line in lines)


def test_multiples_ascend():
    assert read_times("6, 1,3") == [1, 3, 6]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--times", "1,0"), "--times '1,0': write whole numbers from 1"),
        (("--times", "2,2"), "a number stands twice"),
        (("--searches", "beam,exhaustive"), "--searches 'beam,exhaustive': name searches that"),
        (("--searches", "beam,beam"), "each once: beam"),
        (("--searches", "prm-beam"), "guided by a process reward model, and this bundle has none"),
        (
            ("--searches", "beam", "--likelihood-weight", 1),
            "--likelihood-weight: beam ranks by likelihood alone",
        ),
        (("--split", "test", "--results", "x.jsonl"), "only the setting that validation chose"),
        (("--users", "0"), "--users '0'"),
        (("--times", f"1,{10**20}"), "out of all proportion; at most"),
        (("--searches", "item-beam", "--times", f"1,{10**20}"), "per level (--candidates)"),
        (("--likelihood-weight", "1,0.5"), "2 values, but semantic IDs have 3 codes"),
    ],
)
def test_sweeps_that_mean_nothing_are_refused(headed, options, words):
    assert words in refused("scale", headed, *options, "--dry-run")


def test_a_search_that_cannot_be_is_told_beside_those_that_can(headed):
    said = refused("scale", headed, "--searches", "beam,prm-beam", "--dry-run")
    assert "Or leave prm-beam out: --searches beam." in said
    assert "Or leave" not in refused("scale", headed, "--searches", "prm-beam", "--dry-run")


def test_what_searches_nothing_has_no_budget(shop, tmp_path):
    config = tmp_path / "popularity.yaml"
    config.write_text("kind: popularity\n")
    run(
        *("train", "--config", config, "--dataset", shop / "dataset"),
        *("--out", tmp_path / "popularity"),
    )
    assert "there is no budget to grow" in refused("scale", tmp_path / "popularity")
