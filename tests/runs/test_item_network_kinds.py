"""Every kind of run over item IDs: it learns, goes on exactly, and its bundle recommends."""

import json

import numpy as np
import polars as pl
import pytest
import torch

import sidestep
from sidestep.baselines.item_scores import ItemNetworkRecommender
from sidestep.data.histories import Histories
from sidestep.data.splits import leave_one_out
from sidestep.evaluation.evaluator import evaluate
from sidestep.runs.config import checked_run
from sidestep.runs.plan import Material
from sidestep.training.config import TrainingConfig
from sidestep.training.fit import TrainingRun, fit
from tests.model.item_networks import TIED_KINDS

from .test_learning import NUM_ITEMS, a_catalog

LENGTH = 8
"""Items of each user, more than a network reads at once."""

MANY_USERS = 20 * NUM_ITEMS

LOSSES = {
    "cross-entropy": {},
    "sampled-softmax": {"negatives_per_target": 8},
    "binary": {"negatives_per_target": 4},
    "gbce": {"negatives_per_target": 4},
}


def a_split(num_users=NUM_ITEMS):
    """Users who go round the items in steps of one."""
    rows = [(np.arange(LENGTH) + start) % NUM_ITEMS for start in range(num_users)]
    histories = Histories(
        items=np.concatenate(rows),
        offsets=np.arange(0, LENGTH * num_users + 1, LENGTH),
        user_ids=tuple(map(str, range(num_users))),
    )
    return leave_one_out(histories, min_context=0)


def run_of(kind, *, epochs=60, max_seconds=None, objective=None, **model):
    training = TrainingConfig(
        epochs=epochs,
        batch_size=8,
        learning_rate=1e-2,
        max_seconds=max_seconds,
        device="cpu",
        validate_every=epochs,
    )
    content = {
        "kind": kind,
        "model": {"dim": 32, "max_items": 4, "dropout": 0.1, **model},
        "objective": objective or {},
        "training": training.model_dump(mode="json"),
        "max_history": 4,
    }
    return checked_run(content, "test")


def fitted(config, folder, *, resume=False, num_users=NUM_ITEMS):
    learning = config.learning(Material(a_split(num_users), a_catalog(), 4), seed=0)
    run = TrainingRun(
        training=config.training,
        folder=folder,
        seed=0,
        validation=config.validation,
        resume=resume,
    )
    return learning.network, fit(learning, run)


@pytest.mark.parametrize("kind", TIED_KINDS)
def test_it_learns_what_follows_each_item(kind, tmp_path):
    """Users go round the items in steps of one; an epoch of many users ends and is saved once."""
    network, _ = fitted(run_of(kind, epochs=3), tmp_path, num_users=MANY_USERS)
    recommender = ItemNetworkRecommender(network.eval(), max_history=4)
    assert recommender.name == kind
    assert evaluate(recommender, a_split().test, k=3).metrics["HR@1"] > 0.9


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_learns_what_follows_each_item(loss, tmp_path):
    config = run_of("sasrec", epochs=6, objective={"loss": loss, **LOSSES[loss]})
    network, _ = fitted(config, tmp_path, num_users=MANY_USERS)
    recommender = ItemNetworkRecommender(network.eval(), max_history=4)
    assert evaluate(recommender, a_split().test, k=3).metrics["HR@1"] > 0.9


@pytest.mark.parametrize("kind", TIED_KINDS)
def test_an_interrupted_training_goes_on_as_if_it_had_never_stopped(kind, tmp_path):
    whole, _ = fitted(run_of(kind, epochs=3, repeat_bias=True), tmp_path / "whole")
    short = run_of(kind, epochs=3, repeat_bias=True, max_seconds=1e-6)
    _, stopped = fitted(short, tmp_path / "parts")
    assert stopped.stopped != "finished"
    on = run_of(kind, epochs=3, repeat_bias=True)
    resumed, result = fitted(on, tmp_path / "parts", resume=True)
    assert result.stopped == "finished"
    for name, weights in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weights), name


@pytest.mark.parametrize("kind", TIED_KINDS)
def test_a_bundle_of_a_run_recommends_and_its_method_is_its_kind(kind, tmp_path):
    frame = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in range(12) for _ in range(5)],
            "item_id": [f"i{(user + step) % 12}" for user in range(12) for step in range(5)],
            "timestamp": [user + 100 * step for user in range(12) for step in range(5)],
        }
    )
    data = sidestep.Dataset.from_frames(frame)
    settings = {"max_history": 4, "training": {"epochs": 1, "device": "cpu"}}
    sidestep.train(
        data,
        {"kind": kind, "model": {"dim": 8, "max_items": 4, "times": True}, **settings},
        out=tmp_path / "made",
    )
    loaded = sidestep.load(tmp_path / "made")
    assert loaded.kind == kind
    [answer] = loaded.recommend([["i3", "i4"]], times=[[0, 100]], k=3)
    assert len(answer.item_ids) == 3
    assert sidestep.evaluate(loaded, data).per_user.method == kind
    assert len(loaded.similar("i3", k=2)) == 2
    assert json.loads((tmp_path / "made/run/bundle/manifest.json").read_text())["kind"] == kind
