"""The weight of a graph beside a network is the best one on validation."""

import polars as pl
import pytest

import sidestep
from sidestep.bundle.attaching import attach_ranker
from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.data.splits import nothing_held_out
from sidestep.evaluation.evaluator import evaluate
from sidestep.runs import chosen_weight
from sidestep.runs.chosen_weight import choose_weight


@pytest.fixture(scope="module")
def data():
    """Users who go round twelve items in steps of one: a graph knows all, and no network yet."""
    frame = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in range(24) for _ in range(5)],
            "item_id": [f"i{(user + step) % 12}" for user in range(24) for step in range(5)],
            "timestamp": [step for _ in range(24) for step in range(5)],
        }
    )
    return Dataset.from_frames(frame)


@pytest.fixture(scope="module")
def both(data):
    """A SASRec that has learned next to nothing, and a graph."""
    small = {"kind": "sasrec", "model": {"dim": 8}, "training": {"epochs": 1}}
    return sidestep.train(data, small), sidestep.train(data, {"kind": "graph"})


def test_the_best_weight_on_validation_is_taken(data, both):
    chosen = choose_weight(*both, data)
    rows = split_of(data).validation
    assert chosen.num_rows == len(rows) == 24
    assert list(chosen.scores) == list(chosen_weight.WEIGHTS)
    attached = attach_ranker(*both, weight=chosen.weight).recommender()
    assert evaluate(attached, rows, k=10).metrics["NDCG@10"] == max(chosen.scores.values())
    best = [
        weight for weight, score in chosen.scores.items() if score == max(chosen.scores.values())
    ]
    assert chosen.weight == min(best), "of equal ones the least"


def test_a_graph_that_only_helps_gets_the_largest_weight_and_one_that_harms_the_least(
    data, both, monkeypatch
):
    monkeypatch.setattr(chosen_weight, "WEIGHTS", (0.001, 1000.0))
    assert choose_weight(*both, data).weight == 1000.0
    wrong = sidestep.train(data, {"kind": "graph", "max_distance": 1, "backward_weight": 1.0})
    wrong.fitted.weights.neg_()
    taught = {"kind": "sasrec", "model": {"dim": 16}, "training": {"epochs": 30, "batch_size": 8}}
    assert choose_weight(sidestep.train(data, taught), wrong, data).weight == 0.001


def test_without_validation_rows_there_is_nothing_to_choose_by(data, both):
    whole = Dataset(
        interactions=data.interactions,
        items=data.items,
        name=data.name,
        split=nothing_held_out(data.histories()),
    )
    assert choose_weight(*both, whole) is None
