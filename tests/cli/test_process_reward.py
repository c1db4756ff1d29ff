"""A process reward model by commands, from its configuration to guided searches."""

import json

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

import sidestep
from sidestep.evaluation.results import read as read_lines
from sidestep.runs.inputs import load_catalog
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

WEIGHTS = "process_reward.safetensors"

CONFIG = """\
kind: process-reward
backbone: {backbone}
model: {{dim: 8}}
objective: {{num_negatives: 8}}
guidance: {{likelihood_weight: 0.5, candidates_per_beam: 3}}
training: {{epochs: 2, batch_size: 16}}
validation: {{num_users: 20, num_beams: 5}}
"""


@pytest.fixture(scope="module")
def config(shop, tmp_path_factory):
    file = tmp_path_factory.mktemp("configs") / "process-reward.yaml"
    file.write_text(CONFIG.format(backbone=shop / "beam"))
    return file


@pytest.fixture(scope="module")
def rewarded(shop, config, tmp_path_factory):
    """A run with a process reward model beside the network of `beam`."""
    out = tmp_path_factory.mktemp("rewarded") / "prm"
    run(*training(shop, config, out, "--seed", 4))
    return out


def test_the_run_recommends_by_itself_as_its_backbone_does(shop, rewarded):
    assert_recommends_as_its_backbone_does(shop, rewarded, seed=4)
    assert sidestep.load(rewarded).manifest.parts["process_reward"].model.dim == 8


def test_a_wide_guided_beam_finds_what_its_oracle_finds(rewarded):
    plain = measured(rewarded, "--beams", 64)
    found = {}
    for weight in (0, 0.5):
        how = ("--likelihood-weight", weight)
        wide = ("--search", "prm-beam", "--beams", 64, "--candidates", 64)
        guided, oracle = (
            measured(rewarded, *wide, *how),
            measured(rewarded, "--search", "exhaustive-prm", *how),
        )
        found[weight] = guided["metrics"]["NDCG@10"]
        assert found[weight] == pytest.approx(oracle["metrics"]["NDCG@10"])
        assert guided["tokens_per_user"] == plain["tokens_per_user"]
        assert (guided["method"], oracle["method"]) == ("prm-beam", "exhaustive-prm")
    assert found[0] not in (found[0.5], plain["metrics"]["NDCG@10"])


def test_unless_said_otherwise_it_is_asked_as_it_was_chosen(rewarded, tmp_path):
    results = tmp_path / "quality.jsonl"
    beam = ("--search", "prm-beam", "--beams", 5)
    measured(rewarded, *beam, "--results", results)
    same = ("--candidates", 15, "--likelihood-weight", 0.5)
    measured(rewarded, *beam, *same, "--results", results)
    measured(rewarded, *beam, "--likelihood-weight", "0,0.5,2", "--results", results)
    first, second, third = read_lines(results)
    assert (first.setting.k_plus, first.setting.likelihood_weight) == (15, 0.5)
    assert (first.setting, first.metrics) == (second.setting, second.metrics)
    assert third.setting.likelihood_weight == (0, 0.5, 2)


def test_recommend_is_guided_too(rewarded):
    asked = ("recommend", rewarded, "--history", "item-1,item-2", "-k", 3, "--json")
    guided = json.loads(run(*asked, "--search", "prm-beam"))
    assert guided["score_kind"] == "prm + log_prob"
    alone = json.loads(run(*asked, "--search", "prm-beam", "--likelihood-weight", 0))
    assert alone["score_kind"] == "prm"
    assert alone["items"] != guided["items"]


def test_joint_training_leaves_a_network_of_its_own_and_the_backbone_as_it_was(
    shop, config, tmp_path
):
    before = load_file(shop / "beam/bundle/model.safetensors")
    run(*training(shop, config, tmp_path / "joint", "--set", "objective.joint={}"))
    after = load_file(tmp_path / "joint/bundle/model.safetensors")
    untouched = load_file(shop / "beam/bundle/model.safetensors")
    assert all(torch.equal(untouched[name], before[name]) for name in before)
    assert not all(torch.equal(after[name], before[name]) for name in before)
    assert measured(tmp_path / "joint", "--search", "prm-beam", "--beams", 5)


def test_a_fresh_backbone_gives_its_shape_alone(shop, config, tmp_path):
    joint = ("--set", "objective.joint={}", "--set", "training.epochs=1")
    backbone, drawn = shop / "beam", []
    for name in ("first", "second"):  # the second names the first, whose weights are others
        named = ("--set", f"backbone={backbone}", "--set", "fresh_backbone=true")
        run(*training(shop, config, tmp_path / name, *joint, *named))
        backbone = tmp_path / name
        drawn.append(load_file(backbone / "bundle/model.safetensors"))
    first, second = drawn
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_fresh_backbone_that_nothing_trains_is_refused(shop, config, tmp_path):
    out = tmp_path / "fresh"
    message = refused(*training(shop, config, out, "--set", "fresh_backbone=true"))
    assert "fresh_backbone: nothing trains the backbone" in message
    assert "objective.joint" in message
    assert not out.exists()


def test_new_items_may_be_appended_and_found(shop, files, rewarded, tmp_path):
    codes = load_catalog(shop / "catalog").semantic_ids[:, :-1].tolist()
    products = pl.read_csv(files / "products.csv", infer_schema=False)
    new = products.filter([codes.count(prefix) < 12 for prefix in codes]).head(2)
    new.with_columns(sku=pl.format("new-{}", "sku")).write_csv(tmp_path / "new.csv")
    bundle = tmp_path / "bundle"
    run("append", rewarded, "--items", tmp_path / "new.csv", "--item", "sku", "--out", bundle)
    # Ranked by the scores alone, because new items share the likelihood of old items.
    wide = ("--search", "prm-beam", "--beams", 99, "--candidates", 99, "--likelihood-weight", 0)
    asked = ("--history", "item-1", "-k", 99, *wide, "--json")
    before, after = (
        json.loads(run("recommend", folder, *asked))["items"] for folder in (rewarded, bundle)
    )
    assert sum(item["is_new"] for item in after) == 2
    kept = {item["item_id"]: item["score"] for item in after if not item["is_new"]}
    assert kept == pytest.approx({item["item_id"]: item["score"] for item in before})
    assert len(after) == len(before) + 2


def test_the_same_command_after_an_interruption_continues_and_ends_the_same(
    shop, config, rewarded, tmp_path, monkeypatch
):
    command = training(shop, config, tmp_path / "parts", "--seed", 4)
    parts = tmp_path / "parts"
    assert_ends_the_same_after_an_interruption(command, rewarded, parts, WEIGHTS, monkeypatch)


def test_a_dry_run_tells_the_sizes_and_writes_nothing(shop, config, rewarded, tmp_path):
    assert_tells_sizes_in_a_dry_run(training(shop, config, tmp_path / "run"), rewarded, WEIGHTS)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        *MISFITS,
        (("--set", "backbone=popularity"), "is popularity, which has no prefixes of semantic IDs"),
        (("--set", "model.dim=900000000"), "lower model.dim, or let prefixes share"),
        (("--set", "model.num_heads=3"), "must be a multiple of num_heads"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    shop, config, tmp_path, monkeypatch, more, words
):
    assert_refuses_before_anything_is_written(shop, config, tmp_path, monkeypatch, more, words)


@pytest.mark.parametrize("search", ["prm-beam", "exhaustive-prm"])
def test_a_bundle_without_one_guides_nothing(shop, search):
    for more in ((), ("--dry-run",)):
        message = refused("evaluate", shop / "beam", "--search", search, *more)
        assert f"{search} is guided by a process reward model, and this bundle has none" in message
