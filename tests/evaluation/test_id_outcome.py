from dataclasses import replace

import numpy as np
import pytest

from sidestep.evaluation.id_outcome import one_hit_inflation, prefix_recall
from sidestep.evaluation.results import PerUser, Setting
from sidestep.metrics.ties import NOT_LISTED
from sidestep.padding import NO_ITEM

# Items 0, 1, 2 share an ID; 3 and 4 share the first code.
IDS = np.array([[0, 0], [0, 0], [0, 0], [1, 0], [1, 1]])

SETTING = Setting(**(dict.fromkeys(Setting.model_fields) | {"exclude_seen": False, "users": "all"}))
RUN = PerUser(
    dataset="shop",
    method="beam",
    split="test",
    seed=0,
    setting=SETTING,
    k=4,
    user_ids=("ann", "bob", "cid"),
    targets=np.array([1, 4, 3]),
    # Ann's target is in the bucket listed first, Bob's leaf is the second, Cid's is not listed.
    rank_before=np.array([0, 3, NOT_LISTED]),
    num_tied=np.array([3, 1, 1]),
    items=np.array([[0, 1, 2, 3], [0, 1, 2, 4], [4, NO_ITEM, NO_ITEM, NO_ITEM]]),
)


def test_a_shared_id_that_counts_as_one_hit_inflates_by_so_much():
    # Honest: one third for Ann. As one hit: 1 for Ann.
    found = one_hit_inflation(RUN, IDS, k=1)["HR@1"]
    assert (found.honest, found.as_one_hit) == pytest.approx((1 / 9, 1 / 3))
    # Honest: two thirds for Ann. As one hit: 1 for Ann, and 1 / log2 3 for Bob, at rank 2.
    found = one_hit_inflation(RUN, IDS, k=2)
    assert (found["HR@2"].honest, found["HR@2"].as_one_hit) == pytest.approx((2 / 9, 2 / 3))
    assert found["NDCG@2"].as_one_hit == pytest.approx((1 + 0.6309298) / 3)


def test_leaves_are_counted_up_to_the_target():
    # The target's bucket is the third leaf, after the leaves of 3 and 4.
    third = replace(
        RUN,
        user_ids=("dan",),
        targets=np.array([1]),
        rank_before=np.array([2]),
        num_tied=np.array([3]),
        items=np.array([[3, 4, 0, 1]]),
    )
    found = [one_hit_inflation(third, IDS, k=k)[f"HR@{k}"].as_one_hit for k in (1, 2, 3)]
    assert found == [0, 0, 1]
    assert [prefix_recall(third, IDS, k=k) for k in (2, 3)] == [[0, 0], [1, 1]]


def test_ids_of_equal_scores_share_their_places():
    # The leaf of 3 and the leaf of 0, 1 and 2 are tied, and the list cuts off item 2.
    tied = replace(
        RUN,
        user_ids=("eve",),
        targets=np.array([3]),
        rank_before=np.array([1]),
        num_tied=np.array([4]),
        items=np.array([[4, 3, 0, 1]]),
    )
    found = [one_hit_inflation(tied, IDS, k=k)[f"HR@{k}"] for k in (1, 2, 3)]
    assert [metric.as_one_hit for metric in found] == [0, 1 / 2, 1]
    assert [metric.honest for metric in found] == [0, 1 / 4, 2 / 4]


def test_ids_of_their_own_inflate_nothing():
    alone = np.arange(5)[:, None]
    for metric in one_hit_inflation(RUN, alone, k=4).values():
        assert metric.as_one_hit >= metric.honest
    assert one_hit_inflation(RUN, alone, k=4)["HR@4"].as_one_hit == pytest.approx(2 / 3)


def test_the_recall_of_prefixes_counts_leaves():
    # First leaves: 0 0 for Ann and Bob, 1 1 for Cid, whose target starts with 1.
    assert prefix_recall(RUN, IDS, k=1) == pytest.approx([2 / 3, 1 / 3])
    assert prefix_recall(RUN, IDS, k=2) == pytest.approx([3 / 3, 2 / 3])


@pytest.mark.parametrize("k", [0, 5])
def test_lists_are_not_read_past_their_end(k):
    for measure in (one_hit_inflation, prefix_recall):
        with pytest.raises(ValueError, match="from 1 to 4"):
            measure(RUN, IDS, k=k)
