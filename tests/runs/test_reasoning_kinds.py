"""Runs of kinds that reason in latent space, beyond what every network over item IDs must do."""

import polars as pl
import pytest
import torch

import sidestep
from sidestep.baselines.item_scores import ItemNetworkRecommender
from sidestep.bundle.folder import load
from sidestep.evaluation.evaluator import evaluate
from sidestep.runs.config import checked_run

from .test_item_network_kinds import a_split, fitted, run_of

TRAINING = {"epochs": 2, "batch_size": 8, "device": "cpu", "learning_rate": 0.01}


def a_dataset():
    rows = [(f"u{user}", f"i{(user + step) % 12}", step) for user in range(12) for step in range(5)]
    return sidestep.Dataset.from_frames(
        pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    )


def test_an_ensemble_learns_what_follows_each_item(tmp_path):
    network, _ = fitted(run_of("rearec", epochs=30, reasoning="ensemble"), tmp_path)
    recommender = ItemNetworkRecommender(network.eval(), max_history=4)
    assert evaluate(recommender, a_split().test, k=3).metrics["HR@1"] > 0.9


@pytest.mark.parametrize(
    ("reasoning", "objective", "expected"),
    [
        ("ensemble", {"noise": 0.5}, "objective.noise is of reasoning: progressive"),
        ("progressive", {"diversity_weight": 0.5}, "diversity_weight is of reasoning: ensemble"),
    ],
)
def test_a_setting_that_no_loss_reads_is_refused(reasoning, objective, expected):
    content = {"kind": "rearec", "model": {"reasoning": reasoning}, "objective": objective}
    with pytest.raises(ValueError, match=expected):
        checked_run(content, "test")


STAGED = {
    "lares": ({"mean_depth": 2}, "core_block.layers.0.linear1.weight"),
    "diffureason": ({"num_refinements": 2}, "denoiser.hidden.weight"),
}
"""Kinds with a stage of rewards: settings of a tiny network, and a weight that the stage moves."""


@pytest.fixture(scope="module", params=STAGED)
def supervised(request, tmp_path_factory):
    """A dataset, the kind of a run of the first stage, and the folder of the run."""
    kind = request.param
    folder, data = tmp_path_factory.mktemp(kind), a_dataset()
    model = {"dim": 8, "max_items": 4, **STAGED[kind][0]}
    config = {"kind": kind, "model": model, "max_history": 4, "training": TRAINING}
    sidestep.train(data, config, out=folder / "made")
    return data, kind, folder / "made"


def reward_run(kind, backbone, **objective):
    return {
        "kind": f"{kind}-reward",
        "backbone": str(backbone),
        "objective": {"cutoff": 1, **objective},
        "training": TRAINING,
    }


def test_the_reward_stage_goes_on_from_a_run_of_the_first(supervised, tmp_path):
    data, kind, backbone = supervised
    before = {path: path.read_bytes() for path in backbone.rglob("*.safetensors")}
    sidestep.train(data, reward_run(kind, backbone), out=tmp_path / "better")
    assert {path: path.read_bytes() for path in backbone.rglob("*.safetensors")} == before
    first, second = load(backbone), load(tmp_path / "better")
    assert first.kind == second.kind == kind
    assert first.network.config == second.network.config
    moved = [
        name
        for name, weights in first.network.state_dict().items()
        if not torch.equal(weights, second.network.state_dict()[name])
    ]
    assert STAGED[kind][1] in moved
    assert len(second.recommend([["i3", "i4"]], k=3)[0].item_ids) == 3


def test_a_bundle_that_reasons_from_noise_recommends_the_same_alone_and_among_others(supervised):
    _, _, folder = supervised
    users = [["i3", "i4"], [], ["i1"], ["i9", "i2", "i5", "i0", "i7"]]
    first, second = load(folder), load(folder)
    torch.manual_seed(1)
    together = first.recommend(users, k=12)
    torch.manual_seed(2)
    for history, among_others in zip(users, together, strict=True):
        [alone] = second.recommend([history], k=12)
        assert alone.item_ids == among_others.item_ids
        assert alone.scores == pytest.approx(among_others.scores, abs=1e-5)


@pytest.mark.parametrize("kind", STAGED)
def test_the_reward_stage_refuses_another_network(kind, tmp_path):
    data = a_dataset()
    config = {"kind": "sasrec", "model": {"dim": 8}, "training": {**TRAINING, "epochs": 1}}
    sidestep.train(data, config, out=tmp_path / "sasrec")
    with pytest.raises(ValueError, match=f"is sasrec; name a run of kind {kind}, which this run"):
        sidestep.train(data, reward_run(kind, tmp_path / "sasrec"), out=tmp_path / "better")
    assert not list((tmp_path / "better").rglob("bundle"))
