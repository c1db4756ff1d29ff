"""A value head by commands, from its configuration to searches that rank by values."""

import json

import pytest

import sidestep
from sidestep.evaluation.results import read as read_lines
from tests.cli.beside import (
    MISFITS,
    assert_ends_the_same_after_an_interruption,
    assert_recommends_as_its_backbone_does,
    assert_refuses_before_anything_is_written,
    assert_tells_sizes_in_a_dry_run,
    measured,
    training,
)
from tests.cli.commands import refused, run

WEIGHTS = "value_head.safetensors"

CONFIG = """\
kind: value
backbone: {shop}/beam
embeddings: {shop}/vectors.npy
model: {{num_heads: 2}}
objective: {{gamma: 0.9}}
candidates: {{search: sampling, num_samples: 6, temperature: 3}}
guidance: {{likelihood_weight: 0.5, candidates_per_beam: 3}}
training: {{epochs: 2, batch_size: 16}}
validation: {{num_users: 20, num_beams: 5}}
"""

VED = ("--search", "ved", "--search-option", "warm_width=2")


@pytest.fixture(scope="module")
def config(shop, tmp_path_factory):
    file = tmp_path_factory.mktemp("configs") / "value.yaml"
    file.write_text(CONFIG.format(shop=shop))
    return file


@pytest.fixture(scope="module")
def valued(shop, config, tmp_path_factory):
    """A run with a value head beside the network of `beam`."""
    out = tmp_path_factory.mktemp("valued") / "value"
    run(*training(shop, config, out, "--seed", 4))
    return out


def test_the_run_recommends_by_itself_as_its_backbone_does(shop, valued):
    assert_recommends_as_its_backbone_does(shop, valued, seed=4)
    kept = sidestep.load(valued).manifest.parts["value_head"]
    assert (kept.model.num_heads, kept.gamma) == (2, 0.9)
    assert kept.guidance.candidates_per_beam == 3


def test_both_searches_that_see_everything_rank_by_the_same_values(valued):
    # A beam as wide as the catalog, and a budget that no tree of the catalog can use up.
    beam = ("--search", "value-beam", "--beams", 64, "--candidates", 64)
    wide = measured(valued, *beam, "--likelihood-weight", 0)
    grown = measured(valued, *VED, "--beams", 64, "--budget", 4)
    assert wide["metrics"]["NDCG@10"] == pytest.approx(grown["metrics"]["NDCG@10"])
    assert wide["metrics"]["NDCG@10"] != measured(valued, "--beams", 64)["metrics"]["NDCG@10"]
    assert (wide["method"], grown["method"]) == ("value-beam", "ved")


def test_a_budget_is_spent_in_units_of_a_beam(valued, tmp_path):
    results = tmp_path / "quality.jsonl"
    for options in (("--budget", 1), ("--budget", 2), ("--budget", 2, "--search-option", "seed=1")):
        measured(valued, *VED, "--beams", 8, *options, "--results", results)
    once, twice, again = read_lines(results)
    assert (once.tokens_per_user, twice.tokens_per_user) == (1 + 2 * 8, 1 + 2 * 2 * 8)
    assert (once.setting.beams, once.setting.budget) == (8, 1)
    assert (twice.setting.budget, twice.setting.search_options) == (2, "warm_width=2")
    assert again.setting.search_options == "warm_width=2,seed=1"
    assert again.setting.k_plus is again.setting.likelihood_weight is None
    names = {path.name for path in (valued / "evaluations").iterdir()}
    assert {
        "validation-ved-8-1x-warm_width=2",
        "validation-ved-8-2x-warm_width=2",
        "validation-ved-8-2x-warm_width=2,seed=1",
    } <= names


def test_unless_said_otherwise_it_is_asked_as_it_was_chosen(valued, tmp_path):
    results = tmp_path / "quality.jsonl"
    beam = ("--search", "value-beam", "--beams", 5)
    measured(valued, *beam, "--results", results)
    measured(valued, *beam, "--candidates", 15, "--likelihood-weight", 0.5, "--results", results)
    measured(valued, *beam, "--likelihood-weight", 0, "--results", results)
    first, second, third = read_lines(results)
    assert (first.setting.k_plus, first.setting.likelihood_weight) == (15, 0.5)
    assert first.setting.budget is None
    assert (first.setting, first.metrics) == (second.setting, second.metrics)
    assert third.setting.likelihood_weight == 0
    assert third.tokens_per_user == first.tokens_per_user


def test_recommend_goes_by_values_too(valued):
    asked = ("recommend", valued, "--history", "item-1,item-2", "-k", 3, "--json")
    grown = json.loads(run(*asked, *VED, "--beams", 8, "--budget", 2))
    assert (grown["score_kind"], grown["tokens"]) == ("value", 1 + 2 * 2 * 8)
    beam = json.loads(run(*asked, "--search", "value-beam"))
    assert beam["score_kind"] == "value + log_prob"
    everything = json.loads(run(*asked, "--search", "value-beam", "--likelihood-weight", 0))
    assert everything["score_kind"] == "value"
    assert everything["items"] != beam["items"]


def test_a_run_beside_a_run_keeps_what_that_had(shop, valued, tmp_path):
    (tmp_path / "prm.yaml").write_text(
        f"kind: process-reward\nbackbone: {valued}\nmodel: {{dim: 8}}\n"
        "training: {epochs: 1}\nvalidation: {num_users: 5, num_beams: 5}\n"
    )
    run(*training(shop, tmp_path / "prm.yaml", tmp_path / "both"))
    both, before = (sidestep.load(folder) for folder in (tmp_path / "both", valued))
    assert both.process_reward is not None
    assert both.value_use == before.value_use
    asked = ("recommend", "--history", "item-1", "--json", *VED)
    assert run(*asked, tmp_path / "both") == run(*asked, valued)
    measured(tmp_path / "both", "--search", "prm-beam")


def test_the_same_command_after_an_interruption_continues_and_ends_the_same(
    shop, config, valued, tmp_path, monkeypatch
):
    parts = tmp_path / "parts"
    command = training(shop, config, parts, "--seed", 4)
    assert_ends_the_same_after_an_interruption(command, valued, parts, WEIGHTS, monkeypatch)


def test_a_dry_run_tells_the_sizes_and_writes_nothing(shop, config, valued, tmp_path):
    assert_tells_sizes_in_a_dry_run(training(shop, config, tmp_path / "run"), valued, WEIGHTS)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        *MISFITS,
        (
            ("--set", "backbone=popularity"),
            "is popularity, which has no prefixes of semantic IDs to learn from",
        ),
        (
            ("--set", "embeddings=nowhere.npy"),
            "embeddings: there is no nowhere.npy, seen from this file",
        ),
        (("--set", "embeddings=popularity.yaml"), "not a whole .npy file of vectors"),
        (("--set", "model.num_heads=3"), "num_heads 3 does not fit the backbone's states of width"),
        (
            ("--set", "objective.weights=[0, 0, 0]"),
            "weights: no level has a weight above 0",
        ),
        (("--set", "objective.weights=[1]"), "weights has 1 entries, but semantic IDs have 3"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    shop, config, tmp_path, monkeypatch, more, words
):
    assert_refuses_before_anything_is_written(shop, config, tmp_path, monkeypatch, more, words)


@pytest.mark.parametrize("search", ["value-beam", "ved"])
def test_a_bundle_without_one_has_no_values(shop, search):
    for more in ((), ("--dry-run",)):
        message = refused("evaluate", shop / "beam", "--search", search, *more)
        assert f"the search {search} goes by values, and this bundle has no value head" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--search", "ved", "--beams", 8, "--budget", 1),
            "lower warm_width or raise the budget. As options: --search-option warm_width=N, "
            "which is 8 now, --beams or --budget",
        ),
        (("--search", "value-beam", "--likelihood-weight", "1,0"), "has one weight for all levels"),
        (("--search", "value-beam", "--candidates", "60,60,60"), "has one K+ for all levels"),
        (
            ("--search", "value-beam", "--budget", 2),
            "the search value-beam has no use for it, only",
        ),
    ],
)
def test_what_a_search_cannot_use_is_refused(valued, options, words):
    assert words in refused("evaluate", valued, *options)


def test_a_diagnosis_judges_the_values_and_draws_the_searches_that_go_by_them(valued, tmp_path):
    page = tmp_path / "page.html"
    how = ("--users", 10, "--beams", 4, "--set-size", 6, "--report", page, "--json")
    [found] = json.loads(run("diagnose", valued, *how))
    assert list(found["prefixes"]["scores"]) == ["log_prob", "value"]
    values = found["prefixes"]["scores"]["value"]
    assert all(0 <= at["auc"]["mean"] <= 1 for at in values)
    assert [search["name"] for search in found["searches"]] == ["beam", "value-beam", "ved"]
    tokens = {one["name"]: one["candidates"]["tokens"]["mean"] for one in found["searches"]}
    assert tokens["beam"] < tokens["ved"] == 1 + 2 * 4 * 4
    for name in ("beam", "value-beam", "ved"):
        assert f"<h3>{name}</h3>" in page.read_text()
