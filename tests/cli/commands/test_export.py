"""Commands convert a bundle to the layout of Hugging Face and back."""

import json

import numpy as np
import pytest
import torch

import sidestep
from sidestep.bundle.folder import save_bundle
from sidestep.model.config import ProcessRewardConfig, TransformerConfig, ValueHeadConfig
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from tests.cli.commands import call, refused, run

pytest.importorskip("transformers")


def test_there_and_back_recommends_the_same(shop, tmp_path):
    catalog = sidestep.load(shop / "beam", device="cpu").catalog
    torch.manual_seed(0)
    network = Transformer(
        TransformerConfig(dim=8, num_layers=1, num_heads=2),
        catalog.semantic_ids,
        catalog.codebook_sizes,
    )
    torch.nn.init.normal_(network.head.weight)
    save_bundle(tmp_path / "bundle", network=network, catalog=catalog, max_history=7, seed=0)
    said = json.loads(run("export", tmp_path / "bundle", "--out", tmp_path / "hf", "--json"))
    assert said["items"] == catalog.num_items
    run("adopt", tmp_path / "hf", "--out", tmp_path / "back")
    assert sidestep.load(tmp_path / "back").max_history == 7
    history = ",".join(catalog.ids_of(np.array([0, 5])))
    answers = [
        json.loads(run("recommend", tmp_path / name, "--history", history, "--json"))
        for name in ("bundle", "back")
    ]
    assert [item["item_id"] for item in answers[0]["items"]] == [
        item["item_id"] for item in answers[1]["items"]
    ]


def test_an_exported_model_has_a_card_with_the_results_of_plain_beams_alone(shop, files, tmp_path):
    trained = ("train", "--config", files / "config.yaml", "--dataset", shop / "dataset")
    codes = ("--set", "model.history=codes", "--catalog", shop / "catalog")
    run(*trained, *codes, "--out", tmp_path / "run")
    run("export", tmp_path / "run", "--out", tmp_path / "before")
    text = (tmp_path / "before" / "README.md").read_text()
    assert "library_name: transformers" in text
    assert "No evaluation of this language model is known here" in text
    run("evaluate", tmp_path / "run", "--beams", 7)
    run("evaluate", tmp_path / "run", "--search", "exhaustive")
    run("export", tmp_path / "run", "--out", tmp_path / "after")
    text = (tmp_path / "after" / "README.md").read_text()
    assert "beams 7" in text
    assert "exhaustive" not in text
    assert str(tmp_path) not in text
    run("export", tmp_path / "run", "--out", tmp_path / "after", "--overwrite")


def test_what_has_no_place_in_the_layout_is_said_to_stay_behind(shop, tmp_path):
    catalog = sidestep.load(shop / "beam", device="cpu").catalog
    network = Transformer(
        TransformerConfig(dim=8, num_layers=1, num_heads=2),
        catalog.semantic_ids,
        catalog.codebook_sizes,
    )
    reward = ProcessRewardModel(
        ProcessRewardConfig(dim=4), num_features=catalog.trie.num_nodes(), memory_dim=8
    )
    head = ValueHead(ValueHeadConfig(num_heads=2), dim=8, num_levels=catalog.num_levels)
    none = tmp_path / "none"
    save_bundle(none, network=network, catalog=catalog, max_history=7, seed=0)
    with_head = sidestep.load(none, device="cpu").with_value_head(head)
    with_head.save(tmp_path / "head")
    with_head.with_process_reward(reward).save(tmp_path / "both")
    said = {
        name: " ".join(
            call("export", tmp_path / name, "--out", tmp_path / f"hf-{name}").stderr.split()
        )
        for name in ("both", "head", "none")
    }
    assert "Warning: the process reward model and the value head of" in said["both"]
    assert "Warning: the value head of" in said["head"]
    assert "stayed behind" in said["head"]
    assert "stayed behind" not in said["none"]


def test_a_training_says_before_it_begins_what_can_not_be_exported(shop, files, tmp_path):
    train = (
        *("train", "--config", files / "config.yaml", "--dataset", shop / "dataset"),
        *("--catalog", shop / "catalog", "--out", tmp_path / "run", "--dry-run"),
    )
    assert "'sidestep export' writes no network with model.history: items" in call(*train).stderr
    assert "sidestep export" not in call(*train, "--set", "model.history=codes").stderr


def test_what_cannot_be_exported_or_adopted_is_refused(shop, tmp_path):
    message = refused("export", shop / "beam", "--out", tmp_path / "hf")
    assert "model.history: codes" in message
    message = refused("adopt", shop / "gone", "--out", tmp_path / "back")
    assert "no folder of a language model" in message
    message = refused("adopt", shop / "catalog", "--catalog", shop / "catalog", "--out", tmp_path)
    assert "start token" in message or "neither sidestep_tokens.json" in message
