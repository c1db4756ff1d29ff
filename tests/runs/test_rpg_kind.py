"""Runs of kind rpg: they learn the codes of the next item, go on exactly, and need a catalog."""

import pytest
import torch

import sidestep
from sidestep.baselines.item_scores import ItemNetworkRecommender
from sidestep.bundle.folder import load, save_bundle
from sidestep.evaluation.evaluator import evaluate
from sidestep.runs.config import checked_run
from sidestep.training.config import TrainingConfig

from .test_item_network_kinds import a_split, fitted
from .test_learning import a_catalog
from .test_reasoning_kinds import a_dataset

SHAPE = {"dim": 32, "num_layers": 1, "ffn_dim": 32, "max_items": 4, "dropout": 0.1}


def run_of(epochs=25, max_seconds=None):
    training = TrainingConfig(
        epochs=epochs,
        batch_size=8,
        learning_rate=1e-2,
        max_seconds=max_seconds,
        device="cpu",
        validate_every=epochs,
    )
    content = {
        "kind": "rpg",
        "model": {**SHAPE, "temperature": 0.1},
        "training": training.model_dump(mode="json"),
        "max_history": 4,
    }
    return checked_run(content, "test")


def test_it_learns_what_follows_each_item(tmp_path):
    network, _ = fitted(run_of(), tmp_path)
    recommender = ItemNetworkRecommender(network.eval(), max_history=4)
    assert recommender.name == "rpg"
    assert evaluate(recommender, a_split().test, k=3).metrics["HR@1"] > 0.9


def test_an_interrupted_training_goes_on_as_if_it_had_never_stopped(tmp_path):
    whole, _ = fitted(run_of(epochs=3), tmp_path / "whole")
    _, stopped = fitted(run_of(epochs=3, max_seconds=1e-6), tmp_path / "parts")
    assert stopped.stopped != "finished"
    resumed, result = fitted(run_of(epochs=3), tmp_path / "parts", resume=True)
    assert result.stopped == "finished"
    for name, weights in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weights), name


def test_its_bundle_recommends_by_the_codes_of_the_catalog(tmp_path):
    catalog = a_catalog()
    network, _ = fitted(run_of(epochs=1), tmp_path / "run")
    save_bundle(tmp_path / "bundle", network=network, catalog=catalog, max_history=4, seed=0)
    loaded = load(tmp_path / "bundle", device="cpu")
    assert loaded.kind == "rpg"
    [answer] = loaded.recommend([["i3", "i4"]], k=12)
    assert sorted(answer.item_ids) == sorted(f"i{item}" for item in range(12))
    assert answer.scores == sorted(answer.scores, reverse=True)
    assert len(loaded.similar("i3", k=2)) == 2


def test_a_run_without_codes_or_with_long_histories_is_refused(tmp_path):
    with pytest.raises(ValueError, match="predicts the codes of items: give catalog"):
        sidestep.train(a_dataset(), {"kind": "rpg"}, out=tmp_path / "run")
    config = checked_run({"kind": "rpg", "model": {"max_items": 4}, "max_history": 5}, "test")
    with pytest.raises(ValueError, match="max_history is 5, but the network sees at most 4"):
        fitted(config, tmp_path / "other")
