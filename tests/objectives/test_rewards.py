import math

import pytest
import torch

from sidestep.objectives.rewards import (
    category_hit,
    category_match,
    exact_match,
    future_weights,
    likeliness,
    list_rewards,
    novelty,
    path_hit,
    prefix_match,
    rank_penalty,
    step_consistency,
    step_hit,
)


def test_the_targets_leaf_alone_is_a_match():
    assert exact_match(torch.tensor([[4, 7, -1]]), torch.tensor([7])).tolist() == [[0.0, 1.0, 0.0]]


def test_the_likelier_a_wrong_candidate_the_more_it_pays():
    """Three candidates with discounts 1, 1 / log2 3 and 1 / 2; the right one is the second."""
    log_probs = torch.tensor([[-3.0, -1.0, -2.0]])  # ranks 2, 0, 1
    penalties = rank_penalty(
        torch.tensor([[False, False, True]]), log_probs, torch.ones(1, 3, dtype=torch.bool)
    )
    total = 1 + 1 / math.log2(3) + 1 / 2
    expected = torch.tensor([[-0.5 / total, -1 / total, 0.0]])
    torch.testing.assert_close(penalties, expected)


def test_without_the_target_nobody_pays_and_padding_has_no_share():
    log_probs = torch.tensor([[-1.0, -2.0, 5.0], [-1.0, -2.0, 5.0]])
    is_candidate = torch.tensor([[True, True, False]]).expand(2, -1)
    is_target = torch.tensor([[False, True, False], [False, False, False]])
    penalties = rank_penalty(is_target, log_probs, is_candidate)
    assert penalties[1].eq(0).all()
    # The first is the likelier of the two wrong candidates. Padding is likelier, but has no rank.
    torch.testing.assert_close(penalties[0, 0].item(), -1 / (1 + 1 / math.log2(3)))


def test_a_candidate_of_no_probability_still_comes_before_padding():
    """The target joined late: the second wrong candidate has rank 1, whatever padding holds."""
    log_probs = torch.tensor([[-1.0, -torch.inf, -2.0, -torch.inf]])
    is_candidate = torch.tensor([[True, False, True, True]])
    is_target = torch.tensor([[False, False, False, True]])
    penalties = rank_penalty(is_target, log_probs, is_candidate)
    total = 1 + 1 / math.log2(3) + 1 / 2
    expected = torch.tensor([[-1 / total, 0.0, -1 / math.log2(3) / total, 0.0]])
    torch.testing.assert_close(penalties, expected)


def test_a_shared_prefix_earns_the_weights_of_its_levels():
    is_on_path = torch.tensor([[[True, True, True], [True, False, False], [False, False, False]]])
    earned = prefix_match(is_on_path, (0.25, 0.5, 1.0))
    assert earned.tolist() == [[1.75, 0.25, 0.0]]
    with pytest.raises(ValueError, match="2 weights for semantic IDs of 3 codes"):
        prefix_match(is_on_path, (0.5, 1.0))


def test_likeliness_is_1_for_the_certain_and_0_at_chance_and_below():
    log_probs = torch.tensor([[1.0, 0.1, 0.01, 1e-9]]).log()
    earned = likeliness(log_probs, num_items=100)
    torch.testing.assert_close(earned, torch.tensor([[1.0, 0.5, 0.0, 0.0]]), atol=1e-6, rtol=0)


def test_what_has_no_category_matches_none():
    earned = category_match(torch.tensor([[2, 1, -1], [2, 1, -1]]), torch.tensor([2, -1]))
    assert earned.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_never_met_is_new_and_the_most_popular_is_not():
    earned = novelty(torch.tensor([[0, 9, 99]]), most=99)
    torch.testing.assert_close(earned, torch.tensor([[1.0, 0.5, 0.0]]))


FUTURES = torch.tensor([[4, 2, -1]])
WEIGHTS = torch.tensor([[1 / 1.8, 0.8 / 1.8, 0.0]])


def test_items_that_came_later_weigh_less_and_the_weights_sum_to_one():
    torch.testing.assert_close(future_weights(FUTURES, 0.8), WEIGHTS)
    whole = future_weights(torch.tensor([[4, 2, 7]]), 0.8)
    torch.testing.assert_close(whole, torch.tensor([[1.0, 0.8, 0.64]]) / 2.44)
    assert future_weights(torch.tensor([[-1, -1]]), 0.8).tolist() == [[0.0, 0.0]]


def test_a_step_hits_where_a_code_is_that_of_an_item_to_come():
    codes = torch.tensor([[[1, 2, 0, 0], [3, 2, 1, 0]]])
    futures = torch.tensor([[[1, 2, 0, 1], [3, 0, 0, 0], [9, 9, 9, 9]]])
    # Of the next item, the candidates have three codes and one; of the one after it, two and two.
    expected = torch.tensor([[(3 / 4 + 0.8 * 2 / 4) / 1.8, (1 / 4 + 0.8 * 2 / 4) / 1.8]])
    torch.testing.assert_close(step_hit(codes, futures, WEIGHTS), expected)


INTENTS = torch.tensor(
    [[[[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]], [[0.2, 0.8], [0.2, 0.8], [0.9, 0.1]]]]
)
IS_STEP = torch.tensor([[[True, True, True], [True, True, False]]])


def test_the_likeliest_category_before_each_step_hits_that_of_an_item_to_come():
    found = category_hit(INTENTS, IS_STEP, torch.tensor([[1, 0, -1]]), WEIGHTS)
    # The likeliest categories are 0, 0, 1 and 1, 1; the third step of the second is none.
    expected = torch.tensor([[(1 / 3 + 0.8 * 2 / 3) / 1.8, 1 / 1.8]])
    torch.testing.assert_close(found, expected)


def test_intents_that_stay_are_consistent():
    found = step_consistency(INTENTS.log(), IS_STEP)
    # The divergence of an even from a sure distribution is .2157615, that of two sure ones log 2.
    expected = torch.tensor([[1 - (0.2157615 + math.log(2)) / 2, 1.0]])
    torch.testing.assert_close(found, expected)
    assert step_consistency(INTENTS[:, :, :1].log(), IS_STEP[:, :, :1]).tolist() == [[1.0, 1.0]]


def test_a_path_hits_the_items_nearest_to_its_codes():
    similarities = torch.tensor([[[0.1, 0.2, 0.9, 0.3, 0.8], [0.9, 0.8, 0.1, 0.7, 0.2]]])
    found = path_hit(similarities, FUTURES, WEIGHTS, nearest=2)
    assert found.tolist() == [[pytest.approx(1.0), 0.0]]
    found = path_hit(similarities, FUTURES, WEIGHTS, nearest=1)
    assert found.tolist() == [[pytest.approx(0.8 / 1.8), 0.0]]


def test_a_list_is_rewarded_by_the_place_of_its_item():
    scores = torch.tensor([[3.0, 1.0, 2.0, 0.0]] * 4)
    items = torch.tensor([0, 2, 1, 3])  # at the places 1, 2, 3 and 4
    hits = list_rewards(scores, items, measure="hit", cutoff=3)
    assert hits.tolist() == [1.0, 1.0, 1.0, 0.0]
    gains = list_rewards(scores, items, measure="ndcg", cutoff=2)
    torch.testing.assert_close(gains, torch.tensor([1.0, 0.63093, 0.0, 0.0]))
