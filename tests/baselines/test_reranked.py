import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.baselines.item_scores import PopularityRecommender
from sidestep.baselines.reranked import LabelPenalty, MarginalRelevance, Reranked, Tilt
from sidestep.padding import NO_ITEM
from sidestep.step import HistoryBatch

COUNTS = np.array([9, 8, 7, 6, 1])
VECTORS = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0]])
LABELS = torch.tensor([0, 0, 1, 0, -1])
HISTORIES = HistoryBatch(items=torch.tensor([[0], [2]]), lengths=torch.tensor([1, 1]))
UNCHANGED = [
    MarginalRelevance(vectors=VECTORS, weight=0.0),
    LabelPenalty(labels=LABELS, penalty=0.0),
    Tilt(log_worths=torch.arange(5.0), weight=0.0),
]


def recommended(rule, k=5, **more):
    own = Reranked(PopularityRecommender(COUNTS), rule, pool_size=5)
    return own.recommend(HISTORIES, k, **more)


def greedily(scores, penalty_of):
    """The columns in the order of a greedy choice, in plain Python."""
    left, listed = list(range(len(scores))), []
    while left:
        values = {i: scores[i] - penalty_of(i, listed) for i in left}
        best = max(left, key=lambda i: (values[i], -i))
        listed.append(best)
        left.remove(best)
    return listed


def test_a_worked_list_of_items_that_differ():
    """Item 1 points where item 0 does, and pays 4. Item 3 pays 4 / √2, for items 0 and 2 alike.

    Item 4 is opposite to item 0 and orthogonal to item 2, and pays nothing.
    """
    answer = recommended(MarginalRelevance(vectors=VECTORS, weight=4.0))
    assert answer.items[0].tolist() == [0, 2, 1, 3, 4]
    assert answer.scores[0].tolist() == pytest.approx([9.0, 7.0, 4.0, 6 - 4 / 2**0.5, 1.0])


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 7), st.floats(0, 5))
def test_marginal_relevance_is_the_greedy_choice_and_its_scores_never_rise(seed, size, weight):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, size, generator=generator)
    vectors = torch.randn(size, 3, generator=generator)
    items = torch.stack([torch.randperm(size, generator=generator) for _ in range(2)])
    rule = MarginalRelevance(vectors=vectors, weight=weight)
    columns, chosen_at = rule.order(items, scores, size)
    for user in range(2):
        own = torch.nn.functional.normalize(vectors[items[user]], dim=1)
        similarities = own @ own.T

        def penalty_of(i, listed, similarities=similarities):
            return weight * max([0.0, *(float(similarities[i, j]) for j in listed)])

        assert columns[user].tolist() == greedily(scores[user].tolist(), penalty_of)
    assert (chosen_at.diff(dim=1) <= 1e-6).all()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=7), st.floats(0, 2), st.integers(0, 99))
def test_a_label_penalty_is_the_greedy_choice(labels, penalty, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(len(labels), generator=generator).sort(descending=True).values
    columns, _ = LabelPenalty(labels=torch.tensor(labels), penalty=penalty).order(
        torch.arange(len(labels))[None], scores[None], len(labels)
    )

    def penalty_of(i, listed):
        return penalty * sum(labels[j] == labels[i] for j in listed)

    assert columns[0].tolist() == greedily(scores.tolist(), penalty_of)


def test_worked_lists_of_labels_and_of_worths():
    # Of label 0, item 1 pays 2.5 and item 3 pays 5; item 4 has no label.
    answer = recommended(LabelPenalty(labels=LABELS, penalty=2.5))
    assert answer.items[0].tolist() == [0, 2, 1, 3, 4]
    assert answer.scores[0].tolist() == [9.0, 7.0, 5.5, 1.0, 1.0]
    worths = torch.tensor([0.0, 0.0, 4.0, 0.0, 9.0])
    tilted = recommended(Tilt(log_worths=worths, weight=0.5), k=3)
    assert tilted.items[0].tolist() == [0, 2, 1]
    assert tilted.scores[0].tolist() == [9.0, 9.0, 8.0]


@pytest.mark.parametrize("rule", UNCHANGED, ids=lambda rule: rule.name)
def test_a_weight_of_0_changes_nothing(rule):
    plain = PopularityRecommender(COUNTS).recommend(HISTORIES, 3)
    assert recommended(rule, k=3).items.equal(plain.items)


@pytest.mark.parametrize("rule", UNCHANGED, ids=lambda rule: rule.name)
def test_excluded_items_stay_out_and_short_lists_are_padded(rule):
    excluded = torch.tensor([[2, 4], [0, NO_ITEM]])
    answer = recommended(rule, exclude_seen=True, excluded=excluded)
    assert answer.items[0].tolist() == [1, 3, NO_ITEM, NO_ITEM, NO_ITEM]
    assert (answer.scores[0, 2:] == -torch.inf).all()
    assert set(answer.items[1, :3].tolist()) == {1, 3, 4}


def test_the_cost_of_the_cosines_is_counted():
    # 5 x 5 products of vectors of width 2, two operations each; popularity multiplies nothing.
    assert recommended(UNCHANGED[0]).spent.flops.tolist() == [100, 100]
    assert recommended(UNCHANGED[1]).spent.flops.tolist() == [0, 0]


def test_what_does_not_fit_is_refused():
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight must be 0 or more"):
            MarginalRelevance(vectors=VECTORS, weight=wrong)
        with pytest.raises(ValueError, match="penalty must be 0 or more"):
            LabelPenalty(labels=LABELS, penalty=wrong)
    popular = PopularityRecommender(COUNTS)
    with pytest.raises(ValueError, match="pool_size must be at least 1"):
        Reranked(popular, UNCHANGED[0], pool_size=0)
    with pytest.raises(ValueError, match="tilt knows 4 items, and popularity recommends 5"):
        Reranked(popular, Tilt(log_worths=torch.zeros(4)))
