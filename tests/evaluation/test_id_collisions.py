"""Collisions, worked by hand on four items of which two share their ID."""

import numpy as np
import pytest

from sidestep.evaluation.id_collisions import collisions

LEAF_OF = np.array([0, 0, 1, 2])


def test_collisions_worked_by_hand():
    found = collisions(LEAF_OF)
    assert (found.items, found.distinct, found.largest) == (4, 3, 2)
    assert found.buckets == {1: 2, 2: 1}
    assert found.shared_items == 0.5
    assert found.shared_interactions is None
    assert found.random_inflation == pytest.approx(4 / 3)
    # HR@1: 1/2, 1/2, 1, 1. NDCG@10 of a pair: (1 + 1/log2 3) / 2 = 0.8154649.
    honest = {ceiling.metric: ceiling.honest for ceiling in found.ceilings}
    assert honest == pytest.approx({"HR@1": 0.75, "HR@10": 1.0, "NDCG@10": 0.9077324})
    assert found.ceilings[0].inflation == pytest.approx(4 / 3)
    assert "HR@1 1.000 for 0.750 (× 1.333)" in found.in_words()


def test_targets_are_drawn_as_items_are_interacted_with():
    counted = collisions(LEAF_OF, np.array([2, 1, 2, 1]))
    # Of six training interactions, three are with the two items that share an ID.
    assert counted.shared_interactions == 0.5
    assert counted.ceilings[0].honest == pytest.approx((3 * 0.5 + 3) / 6)


def test_ids_of_their_own_inflate_nothing():
    found = collisions(np.arange(3))
    assert found.in_words() == "Every item has an ID of its own: nothing is inflated."
    assert all(ceiling.inflation == 1 for ceiling in found.ceilings)
