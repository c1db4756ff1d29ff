import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.baselines.item_scores import (
    ItemNetworkRecommender,
    PopularityRecommender,
    SummedScores,
    best_items,
)
from sidestep.model.config import SasRecConfig
from sidestep.model.sasrec import SasRec
from sidestep.padding import NO_ITEM
from sidestep.recommender import BestItems, Recommender
from sidestep.step import HistoryBatch

HISTORIES = HistoryBatch(
    items=torch.tensor([[2, 0], [1, NO_ITEM], [NO_ITEM, NO_ITEM]]), lengths=torch.tensor([2, 1, 0])
)


def test_popularity_gives_everyone_the_most_frequent_items_and_breaks_ties_by_index():
    recommender = PopularityRecommender(np.array([3, 5, 3, 9]))
    answer = recommender.recommend(HISTORIES, 3)
    assert answer.items.tolist() == [[3, 1, 0]] * 3
    assert answer.scores.tolist() == [[9.0, 5.0, 3.0]] * 3
    assert answer.spent.tokens.tolist() == [0, 0, 0]
    assert answer.spent.scored.tolist() == [0, 0, 0]


def test_items_as_popular_as_the_last_one_are_its_runners_up():
    recommender = PopularityRecommender(np.array([3, 5, 3, 9, 3, 1]))
    answer = recommender.recommend(HISTORIES, 3, exclude_seen=True)
    assert answer.items.tolist() == [[3, 1, 4], [3, 0, 2], [3, 1, 0]]
    assert answer.runners_up.tolist() == [[NO_ITEM] * 2, [4, NO_ITEM], [2, 4]]
    assert answer.all_scores[1].tolist() == [9.0, 3.0, 3.0, 3.0, -torch.inf]


def test_large_counts_that_differ_by_one_do_not_tie():
    answer = PopularityRecommender(np.array([2**24, 2**24 + 1])).recommend(HISTORIES, 1)
    assert answer.items.tolist() == [[1]] * 3
    assert answer.runners_up.shape == (3, 0)


def test_seen_items_are_left_out_and_short_lists_padded():
    recommender = PopularityRecommender(np.array([3, 5, 3, 9]))
    answer = recommender.recommend(HISTORIES, 5, exclude_seen=True)
    assert answer.items.tolist() == [
        [3, 1, NO_ITEM, NO_ITEM, NO_ITEM],
        [3, 0, 2, NO_ITEM, NO_ITEM],
        [3, 1, 0, 2, NO_ITEM],
    ]
    assert torch.isneginf(answer.scores[0, 2:]).all()


def by_full_sort(scores, k):
    scores, items = scores.sort(dim=1, descending=True, stable=True)
    return BestItems.first(items.masked_fill(scores == -torch.inf, NO_ITEM), scores, k)


@given(st.data())
def test_lists_and_runners_up_are_those_of_a_stable_sort_of_all_items(data):
    num_users, num_items = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 40))
    # Few values, so that many tie: inside a list, at its end and after it.
    values = st.sampled_from([-torch.inf, -1.0, -0.0, 0.0, 0.5, 2.0, torch.inf])
    rows = st.lists(values, min_size=num_items, max_size=num_items)
    scores = torch.tensor(data.draw(st.lists(rows, min_size=num_users, max_size=num_users)))
    k = data.draw(st.integers(0, num_items + 3))
    found, expected = best_items(scores, k), by_full_sort(scores, k)
    assert torch.equal(found.items, expected.items)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.scores.signbit(), expected.scores.signbit())
    assert torch.equal(found.runners_up, expected.runners_up)


@given(st.data())
def test_what_must_not_be_recommended_changes_nothing_about_the_order_of_ties(data):
    num_items = data.draw(st.integers(1, 30))
    items = st.integers(0, num_items - 1)
    counts = np.array(
        data.draw(st.lists(st.integers(0, 3), min_size=num_items, max_size=num_items))
    )
    is_available = torch.zeros(num_items, dtype=torch.bool)
    is_available[data.draw(st.lists(items))] = True
    seen = data.draw(st.lists(items, min_size=1))
    excluded = data.draw(st.lists(items))
    k = data.draw(st.integers(1, num_items + 3))
    answer = PopularityRecommender(counts, is_available=is_available).recommend(
        HistoryBatch(items=torch.tensor([seen]), lengths=torch.tensor([len(seen)])),
        k,
        exclude_seen=True,
        excluded=torch.tensor([[*excluded, NO_ITEM]]),
    )
    left = [
        item for item in range(num_items) if is_available[item] and item not in {*seen, *excluded}
    ]
    ranked = sorted(left, key=lambda item: (-counts[item], item))
    assert answer.items[0].tolist() == (ranked + [NO_ITEM] * k)[:k]
    tied = [item for item in ranked[k:] if counts[item] == counts[ranked[k - 1]]]
    assert answer.runners_up[0].tolist() == tied


def test_sasrec_ranks_by_the_product_with_the_item_embeddings_whatever_the_batch():
    torch.manual_seed(0)
    network = SasRec(SasRecConfig(dim=8, num_layers=1, num_heads=2, max_items=5), 6).eval()
    recommender = ItemNetworkRecommender(network)
    answer = recommender.recommend(HISTORIES, 6)
    for user in range(3):
        length = int(HISTORIES.lengths[user])
        alone = HistoryBatch(
            items=HISTORIES.items[user : user + 1, :length], lengths=torch.tensor([length])
        )
        expected = network.scores(network.states(alone)[:, -1], alone)[0]
        assert answer.items[user].tolist() == expected.argsort(descending=True).tolist()
        torch.testing.assert_close(answer.scores[user], expected.sort(descending=True).values)


def test_both_are_recommenders():
    network = SasRec(SasRecConfig(dim=8, num_heads=2), 3)
    assert isinstance(ItemNetworkRecommender(network), Recommender)
    assert isinstance(PopularityRecommender(np.array([1, 2])), Recommender)


def test_what_is_left_out_gives_the_ranking_of_a_catalog_without_it():
    is_available = torch.tensor([True, True, False, True, True])
    recommender = PopularityRecommender(np.array([3, 5, 9, 7, 1]), is_available=is_available)
    histories = HistoryBatch(items=torch.tensor([[0], [NO_ITEM]]), lengths=torch.tensor([1, 0]))
    excluded = torch.tensor([[NO_ITEM, 3], [1, 4]])
    answer = recommender.recommend(histories, 4, exclude_seen=True, excluded=excluded)
    assert answer.items.tolist() == [[1, 4, NO_ITEM, NO_ITEM], [3, 0, NO_ITEM, NO_ITEM]]


def test_a_sum_is_of_both_scores_and_both_costs():
    first, second = (
        PopularityRecommender(np.array([3, 5, 3, 9])),
        PopularityRecommender(np.array([0, 0, 9, 1])),
    )
    both = SummedScores(first, second, weight=0.5)
    answer = both.recommend(HISTORIES, 2)
    assert answer.items.tolist() == [[3, 2]] * 3
    assert answer.scores.tolist() == [[9.5, 7.5]] * 3
    assert both.flops(HISTORIES).tolist() == [0, 0, 0]
    network = SasRec(SasRecConfig(dim=8, num_heads=2, max_items=5), 4)
    counted = ItemNetworkRecommender(network)
    assert torch.equal(
        SummedScores(counted, counted, weight=1.0).flops(HISTORIES), 2 * counted.flops(HISTORIES)
    )
    assert isinstance(both, Recommender)


def test_a_sum_leaves_out_what_is_not_available_or_seen():
    counts = PopularityRecommender(np.array([3, 5, 3, 9]))
    is_available = torch.tensor([True, True, True, False])
    both = SummedScores(counts, counts, weight=1.0, is_available=is_available)
    answer = both.recommend(HISTORIES, 3, exclude_seen=True)
    assert answer.items.tolist() == [[1, NO_ITEM, NO_ITEM], [0, 2, NO_ITEM], [1, 0, 2]]


def test_what_has_no_sum_is_refused():
    counts = PopularityRecommender(np.array([3, 5, 3]))
    for other in (
        PopularityRecommender(np.array([1, 2])),
        ItemNetworkRecommender(SasRec(SasRecConfig(dim=8, num_heads=2), 3)),
    ):
        with pytest.raises(ValueError, match="there is no sum of them"):
            SummedScores(counts, other, weight=1.0)


def test_sasrec_looks_at_no_more_items_than_it_was_shown_in_training():
    torch.manual_seed(0)
    network = SasRec(SasRecConfig(dim=8, num_layers=1, num_heads=2, max_items=5), 6).eval()
    histories = HistoryBatch(items=torch.tensor([[0, 1, 2, 3, 4, 5, 1]]), lengths=torch.tensor([7]))
    for shown, limits in ((5, {}), (2, {"max_history": 2})):
        recommender = ItemNetworkRecommender(network, **limits)
        last = histories.latest(shown)
        assert torch.equal(recommender.scores(histories), recommender.scores(last))
        assert torch.equal(recommender.flops(histories), recommender.flops(last))


def test_scores_that_are_no_numbers_are_refused():
    """A sort would put them first, as if they were the best."""
    ranked = PopularityRecommender(np.array([3.0, np.nan, 1.0]))
    histories = HistoryBatch(items=torch.tensor([[0]]), lengths=torch.tensor([1]))
    with pytest.raises(FloatingPointError, match=r"popularity gives scores that are no numbers"):
        ranked.recommend(histories, 2)
