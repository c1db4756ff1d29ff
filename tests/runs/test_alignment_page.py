"""Measurements that the page of an alignment run makes by itself, on a catalog of six items."""

from dataclasses import replace

import numpy as np
import pytest

from sidestep.data.windows import Windows
from sidestep.runs.alignment_page import NUM_PROMPTS, final_compression
from tests.training.test_alignment import an_objective

NUM_WINDOWS = NUM_PROMPTS + 88
WINDOWS = Windows(
    items=np.arange(3 * NUM_WINDOWS) % 5,
    starts=np.arange(0, 3 * NUM_WINDOWS, 3),
    lengths=np.full(NUM_WINDOWS, 3),
    first_target=np.ones(NUM_WINDOWS, dtype=np.int64),
)
WIDE = {"rollouts": {"search": "beam", "num_beams": 6}, "kl_weight": None}


def test_some_prompts_are_looked_at_each_with_its_latest_target():
    found = final_compression(an_objective(**WIDE), WINDOWS, batch_size=200)
    # Six beams find every item: three first codes; two of them have several second codes.
    assert [at.num_parents for at in found.by_depth] == [NUM_PROMPTS, 2 * NUM_PROMPTS]
    few = WINDOWS.select(np.arange(7))
    one = final_compression(an_objective(**WIDE), few, batch_size=3)
    assert [at.num_parents for at in one.by_depth] == [7, 14]
    latest = replace(few, first_target=few.lengths - 1)
    other = final_compression(an_objective(**WIDE), latest, batch_size=7)
    assert other.group_spreads.mean() == pytest.approx(one.group_spreads.mean())


def test_advantages_are_scaled_as_in_training():
    # One of six items is right. Without scaling by the standard deviation, the advantages of its
    # siblings differ only by their mean rewards.
    found = {
        scaling: final_compression(
            an_objective(**WIDE, scaling=scaling), WINDOWS.select(np.arange(5)), batch_size=5
        )
        for scaling in ("std", "mean-only")
    }
    assert found["std"].sibling_spreads.max() == pytest.approx(1, abs=1e-4)
    assert found["mean-only"].sibling_spreads.max() == pytest.approx(0.5)
