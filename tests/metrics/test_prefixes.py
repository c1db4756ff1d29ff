import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from sidestep.metrics.prefixes import (
    auc,
    best_in_set,
    chance_among_best,
    losses,
    rank_correlation,
)

few = st.integers(-3, 3)  # so that there are ties


def row(values, kind=torch.double):
    return torch.tensor([values], dtype=kind)


@given(
    st.lists(st.integers(0, 2), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.integers(1, 5),
)
@settings(max_examples=40)
def test_the_chance_to_be_among_the_best_is_the_mean_over_all_orders(scores, wanted, number):
    leaves = [leaf for leaf in range(5) if scores[leaf]]  # a score of 0 is no leaf
    drawn = torch.tensor([[score or -math.inf for score in scores]])
    found = chance_among_best(drawn, torch.tensor(wanted)[None, :, None], number)
    hits = []
    for order in itertools.permutations(leaves):
        best = sorted(order, key=lambda leaf: -scores[leaf])[:number]
        hits.append(any(wanted[leaf] for leaf in best))
    assert found.item() == pytest.approx(sum(hits) / len(hits), abs=1e-9)


def test_auc_by_hand():
    # Of four others, one is below, one ties, two are above; the fifth does not count.
    scores = row([1, 2, 3, 4, 0])
    is_other = row([1, 1, 1, 1, 0], torch.bool)
    assert auc(torch.tensor([2.0]).double(), scores, is_other).item() == 1.5 / 4


def test_auc_of_nobody_else_is_unknown_and_unreachable_prefixes_tie():
    scores, is_other = row([-math.inf, -math.inf]), row([0, 0], torch.bool)
    assert auc(torch.tensor([0.0]).double(), scores, is_other).isnan().all()
    assert auc(scores[:, 0], scores, ~is_other).item() == 0.5


@given(few, st.lists(few, min_size=1, max_size=9))
def test_auc_is_the_mean_over_pairs_and_turns_with_the_sign(own, others):
    scores, is_other = row(others), torch.ones(1, len(others), dtype=torch.bool)
    target = torch.tensor([own]).double()
    pairs = [1.0 if own > other else 0.5 if own == other else 0.0 for other in others]
    expected = sum(pairs) / len(pairs)
    assert auc(target, scores, is_other).item() == pytest.approx(expected)
    assert auc(-target, -scores, is_other).item() == pytest.approx(1 - expected)
    assert auc(3 * target + 1, 3 * scores + 1, is_other).item() == pytest.approx(expected)


def test_rank_correlation_by_hand():
    # Ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: ρ = 4.5 / √(4.5 · 5) = √0.9.
    first, second = row([0, 5, 5, 9]), row([0, 20, 10, 30])
    is_in = torch.ones(1, 4, dtype=torch.bool)
    assert rank_correlation(first, second, is_in).item() == pytest.approx(0.9**0.5)
    assert rank_correlation(first, -second, is_in).item() == pytest.approx(-(0.9**0.5))


@given(st.lists(st.tuples(few, few, st.booleans()), min_size=1, max_size=9))
def test_rank_correlation_is_that_of_scipy(found):
    first, second, is_in = map(list, zip(*found, strict=True))
    chosen = [(one, two) for one, two, is_chosen in found if is_chosen]
    ours = rank_correlation(row(first), row(second), row(is_in, torch.bool)).item()
    one, two = zip(*chosen, strict=True) if chosen else ((), ())
    if len(set(one)) < 2 or len(set(two)) < 2:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(spearmanr(one, two).statistic)


def test_losses_by_hand():
    t, f = True, False
    is_proposed = torch.tensor([[t, t, t], [t, t, f], [t, t, t], [f, f, f]])
    is_kept = torch.tensor([[t, t, t], [t, t, f], [t, f, f], [f, f, f]])
    lost = losses(is_proposed, is_kept)
    assert lost.dropped.tolist() == [[f, f, f], [f, f, f], [f, t, f], [f, f, f]]
    assert lost.unproposed.tolist() == [[f, f, f], [f, f, t], [f, f, f], [t, f, f]]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_a_target_is_lost_once_or_kept_to_the_end(levels):
    is_proposed = row([proposed for proposed, _ in levels], torch.bool)
    is_kept = row([kept for _, kept in levels], torch.bool)
    lost = losses(is_proposed, is_kept)
    times = int(lost.dropped.sum() + lost.unproposed.sum())
    assert times == (not is_kept.all())


def test_best_in_set_by_hand():
    rewards = torch.tensor([[0.2, 0.9, 5.0], [0.4, 0.1, 0.3], [1.0, 1.0, 1.0]])
    is_candidate = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    best = best_in_set(rewards, is_candidate)
    assert best[:2].tolist() == pytest.approx([0.9, 0.4])
    assert best[2].isnan()
    assert best_in_set(rewards[:, :0], is_candidate[:, :0]).isnan().all()
