from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.baselines.repeats import RepeatsRecommender
from sidestep.padding import NO_ITEM
from sidestep.recommender import Recommender
from sidestep.step import HistoryBatch

COUNTS = np.array([5, 9, 2, 5, 0, 7])


def batch_of(*histories):
    width = max(1, *map(len, histories))
    rows = [[*history, *[NO_ITEM] * (width - len(history))] for history in histories]
    return HistoryBatch(
        items=torch.tensor(rows), lengths=torch.tensor([len(history) for history in histories])
    )


def test_own_items_come_first_the_most_frequent_and_among_equals_the_latest():
    recommender = RepeatsRecommender(COUNTS)
    answer = recommender.recommend(batch_of([2, 4, 0, 2, 4, 3], [], [4, 2, 4]), 6)
    assert answer.items.tolist() == [
        [4, 2, 3, 0, 1, 5],  # 4 and 2 twice, 4 later; 3 and 0 once, 3 later; then popularity
        [1, 5, 0, 3, 2, 4],  # popularity alone
        [4, 2, 1, 5, 0, 3],
    ]
    assert answer.scores[0, :4].tolist() == [4, 3, 2, 1]
    assert (answer.scores[:, -1] < 1).all()
    assert answer.score_kind == "repeats"
    assert isinstance(recommender, Recommender)


def test_items_tie_where_their_counts_are_the_same_and_nowhere_else():
    scores = RepeatsRecommender(COUNTS).scores(batch_of([2, 4]))[0]
    assert scores[0] == scores[3]
    assert len(scores.unique()) == 5
    # Neighbouring counts so large that float32 cannot tell them apart.
    large = RepeatsRecommender(np.array([2**24, 2**24 + 1, 2**24 + 1])).scores(batch_of([]))[0]
    assert large[0] < large[1] == large[2]


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 5), max_size=9), min_size=1, max_size=4))
def test_the_list_is_that_of_plain_counting_whatever_the_batch(histories):
    answer = RepeatsRecommender(COUNTS).recommend(batch_of(*histories), 6)
    for history, found in zip(histories, answer.items.tolist(), strict=True):
        times = Counter(history)
        last = {item: place for place, item in enumerate(history)}
        own = sorted(times, key=lambda item: (-times[item], -last[item]))
        others = sorted(set(range(6)) - set(own), key=lambda item: (-COUNTS[item], item))
        assert found == own + others


def test_frequencies_are_sums_of_weights():
    histories = HistoryBatch(
        items=torch.tensor([[0, 1, 1, 1, 2, 2]]),
        lengths=torch.tensor([6]),
        weights=torch.tensor([[1, 0.2, 0.2, 0.2, 0.3, 0.3]]),
    )
    # 0 weighs 1; 1 and 2 weigh 0.6 each, and 2 came later.
    assert RepeatsRecommender(COUNTS).recommend(histories, 3).items.tolist() == [[0, 2, 1]]


def test_only_the_latest_items_count_and_unavailable_and_seen_ones_are_left_out():
    recommender = RepeatsRecommender(
        COUNTS, max_history=2, is_available=torch.tensor([True] * 5 + [False])
    )
    histories = batch_of([3, 3, 3, 2, 0], [5, 4])
    assert recommender.recommend(histories, 4).items.tolist() == [[0, 2, 1, 3], [4, 1, 0, 3]]
    unseen = recommender.recommend(histories, 3, exclude_seen=True)
    assert unseen.items.tolist() == [[1, 4, NO_ITEM], [1, 0, 3]]
    assert recommender.flops(histories).tolist() == [0, 0]
