"""Estimates: a small part of the work is done and extrapolated; no files are left."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sidestep.data.own_split import split_of
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.runs import estimates
from sidestep.runs.catalogs import make_catalog
from sidestep.runs.config import checked_run
from sidestep.runs.estimates import seconds_of_tokenizing, time_of_training
from sidestep.runs.train import plan_of
from sidestep.tokenizer.opq import OpqConfig
from sidestep.training.progress import Progress

CONFIG = {
    "kind": "transformer",
    "max_history": 10,
    "model": {"dim": 16, "num_layers": 1, "num_heads": 2, "history": "items"},
    "training": {"epochs": 3, "batch_size": 64},
    "validation": {"num_users": 30, "num_beams": 10},
}

PROGRESS = Progress(
    epoch=1,
    num_epochs=1,
    step=0,
    num_steps=4,
    learning_rate=0.1,
    loss=None,
    targets_per_s=None,
    parts={},
    score=None,
    best_score=None,
    best_epoch=None,
    metrics={},
    seconds=0.0,
)


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(estimates.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def tiny(tmp_path):
    """A planned training on a shop, with its configuration."""
    size = SyntheticShopConfig(num_users=80, num_departments=2, items_per_kind=6)
    dataset, _ = synthetic_shop(size, 0)
    codes = np.random.default_rng(0).integers(0, 8, size=(len(dataset.items), 3))
    catalog = make_catalog(dataset, split_of(dataset), codes.astype(np.int32), (8, 8, 8))
    config = checked_run(CONFIG, "config")
    plan = plan_of(config, dataset, catalog, out=tmp_path, seed=0)
    return plan.learning, config


def test_the_first_step_does_not_count_and_the_validation_is_apart(clock):
    watch = estimates._Clock()
    watch.began = 0.0
    for step, at in ((1, 3.0), (2, 3.5), (3, 4.0), (4, 4.6)):
        clock[0] = at
        watch.tick(replace(PROGRESS, step=step))
    clock[0] = 6.6
    watch.tick(replace(PROGRESS, step=4, score=0.1))
    assert watch.seconds_per_step == pytest.approx(0.5)
    assert watch.validation == pytest.approx(2.0)


def test_a_slow_measurement_ends_once_it_can_tell_something(clock):
    watch = estimates._Clock()
    watch.began = 0.0
    clock[0] = 60.0
    watch.tick(replace(PROGRESS, step=1))
    assert watch.seconds_per_step == 60.0
    clock[0] = 100.0
    with pytest.raises(estimates._EnoughError):
        watch.tick(replace(PROGRESS, step=2))
    assert watch.seconds_per_step == 40.0


def test_a_training_takes_its_steps_and_its_validations(tiny, monkeypatch):
    learning, config = tiny
    monkeypatch.setattr(estimates, "LONGEST_S", math.inf)  # a busy machine reaches the validation
    monkeypatch.setattr(estimates._Clock, "seconds_per_step", property(lambda self: 2.0))
    found = time_of_training(learning, config, num_steps=10, seed=0)
    num_rows = min(len(learning.validation), config.validation.num_users)
    assert found.seconds_per_row > 0
    assert found.seconds == pytest.approx(10 * 2.0 + 3 * num_rows * found.seconds_per_row)
    training = config.training.model_copy(update={"max_seconds": 7.0})
    limited = config.model_copy(update={"training": training})
    assert time_of_training(learning, limited, num_steps=10, seed=0).seconds == 7.0


def test_a_tokenizer_is_measured_on_some_of_the_items(monkeypatch):
    fitted = []
    make = estimates.make_tokenizer

    def watched(method, config):
        tokenizer = make(method, config)
        fit = tokenizer.fit

        class Watched:
            def fit(self, vectors, *, seed, report):
                fitted.append(len(vectors))
                return fit(vectors, seed=seed, report=report)

        return Watched()

    monkeypatch.setattr(estimates, "make_tokenizer", watched)
    vectors = np.random.default_rng(0).normal(size=(4_000, 4)).astype(np.float32)
    config = OpqConfig(codebook_sizes=(4, 4))
    seconds = seconds_of_tokenizing("opq", config, vectors)
    assert fitted == [1_000]
    assert math.isfinite(seconds)
    assert seconds > 0
    assert seconds_of_tokenizing("my_package:Own", config, vectors) is None
