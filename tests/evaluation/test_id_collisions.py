"""Collisions, computed by hand on four items; two of them share their ID."""

import numpy as np
import pytest

from sidestep.evaluation.id_collisions import Resolution, collisions

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


@pytest.mark.parametrize(
    ("resolution", "words"),
    [
        (None, "How many items were moved for that, these IDs do not say."),
        (Resolution(policy="reassign", items=0), "No item was moved for that."),
        (
            Resolution(policy="reassign", items=2),
            "For that 2 of 4 items (50.0%) got another last code than their own, which others "
            "have: it says less of them.",
        ),
        (
            Resolution(policy="extra", items=1),
            "For that 1 of 4 items (25.0%) are told from others by a number, their last code, "
            "which says nothing of them.",
        ),
    ],
)
def test_ids_of_their_own_inflate_nothing_and_say_how_they_came_to_be_so(resolution, words):
    found = collisions(np.arange(4), resolution=resolution)
    own = "Every item has an ID of its own, so that no metric is inflated."
    assert found.in_words() == f"{own} {words}"
    assert all(ceiling.inflation == 1 for ceiling in found.ceilings)
