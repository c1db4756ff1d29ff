import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.padding import NO_ITEM
from sidestep.step import (
    HistoryBatch,
    StepOutput,
    entropies,
    is_named,
    is_named_among,
    jensen_shannon,
    log_probs,
    normalised,
)

finite = st.floats(-1e4, 1e4, width=32)


def step_of(*rows):
    logits = torch.tensor([rows])
    return StepOutput(logits=logits, hidden=torch.zeros(1, len(rows), 1))


@given(st.lists(st.tuples(finite, st.booleans()), min_size=1, max_size=8), st.floats(0.1, 10))
def test_legal_codes_sum_to_one_and_the_rest_are_impossible(codes, temperature):
    logits, legal = zip(*codes, strict=True)
    legal = torch.tensor([[legal]])
    logs = log_probs(step_of(logits), legal, temperature)
    assert torch.isneginf(logs[~legal]).all()
    assert not logs.isnan().any()
    if legal.any():
        torch.testing.assert_close(logs.exp().sum(), torch.tensor(1.0))
        best = logs[legal].max()
        chosen = torch.tensor([[logits]])[legal].argmax()
        assert logs[legal][chosen] == best


def test_worked_example():
    # exp gives 1, 2, 4, 8; codes 1 and 3 are legal: 2 / 10 and 8 / 10.
    logits = [math.log(x) for x in (1, 2, 4, 8)]
    legal = torch.tensor([[[False, True, False, True]]])
    probs = log_probs(step_of(logits), legal).exp()
    torch.testing.assert_close(probs, torch.tensor([[[0.0, 0.2, 0.0, 0.8]]]))
    probs = log_probs(step_of(logits), None).exp()
    torch.testing.assert_close(probs, torch.tensor([[[1.0, 2.0, 4.0, 8.0]]]) / 15)
    # Temperature 1/2 squares these: 4 / 68 and 64 / 68.
    probs = log_probs(step_of(logits), legal, 0.5).exp()
    torch.testing.assert_close(probs, torch.tensor([[[0.0, 4.0, 0.0, 64.0]]]) / 68)


def test_rows_without_a_legal_code_are_impossible_and_leave_gradients_whole():
    logits = torch.tensor(
        [[[1.0, 2.0, 0.0], [3.0, 4.0, 5.0], [-torch.inf] * 3]], requires_grad=True
    )
    step = StepOutput(logits=logits, hidden=torch.zeros(1, 3, 1))
    legal = torch.tensor([[[True, True, False], [False, False, False], [True, True, True]]])
    logs = log_probs(step, legal)
    assert torch.isneginf(logs[0, 1:]).all()
    logs[torch.isfinite(logs)].sum().backward()
    # d(log p0 + log p1) / dx0 = 1 - 2 p0, with p0 = 1 / (1 + e).
    expected = 1 - 2 / (1 + math.e)
    torch.testing.assert_close(
        logits.grad, torch.tensor([[[expected, -expected, 0.0], [0.0] * 3, [0.0] * 3]])
    )


def test_jensen_shannon_divergence_on_a_worked_example():
    even, sure, other = (torch.tensor(p).log() for p in ([0.5, 0.5], [1.0, 0.0], [0.0, 1.0]))
    # m = (.75, .25): (.5 ln(.5 / .75) + .5 ln(.5 / .25) + ln(1 / .75)) / 2
    torch.testing.assert_close(jensen_shannon(even, sure), torch.tensor(0.2157615))
    torch.testing.assert_close(jensen_shannon(sure, even), torch.tensor(0.2157615))
    torch.testing.assert_close(jensen_shannon(sure, other), torch.tensor(2.0).log())
    assert jensen_shannon(sure, sure) == jensen_shannon(even, even) == 0


def test_entropies_are_those_of_what_may_follow():
    logits = torch.tensor([[[1.0, 1.0, 1.0, 1.0], [5.0, 0.0, 0.0, 0.0], [0.0, 200.0, 0.0, 0.0]]])
    legal = torch.tensor([[[True] * 4, [True] + [False] * 3, [True, True, False, False]]])
    found = entropies(normalised(logits, legal=legal))
    torch.testing.assert_close(found, torch.tensor([[math.log(4), 0.0, 0.0]], dtype=torch.float64))
    nothing = normalised(torch.tensor([[-torch.inf] * 3]))
    assert entropies(nothing).tolist() == [0.0]


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperatures_that_are_not_positive_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        log_probs(step_of([0.0]), None, temperature)


def test_a_batch_of_histories_moves_as_a_whole():
    batch = HistoryBatch(items=torch.zeros(1, 2, dtype=torch.long), lengths=torch.tensor([2]))
    moved = batch.to("meta")
    assert (moved.items.device.type, moved.lengths.device.type) == ("meta", "meta")


def test_the_latest_items_of_histories_are_their_last_ones():
    histories = HistoryBatch(
        items=torch.tensor([[1, 2, 3, 4], [5, 6, NO_ITEM, NO_ITEM], [NO_ITEM] * 4]),
        lengths=torch.tensor([4, 2, 0]),
    )
    latest = histories.latest(3)
    assert latest.items.tolist() == [[2, 3, 4], [5, 6, NO_ITEM], [NO_ITEM] * 3]
    assert latest.lengths.tolist() == [3, 2, 0]
    assert histories.latest(4) is histories
    chosen = histories.select(torch.tensor([2, 0]))
    assert chosen.items.equal(histories.items[[2, 0]])
    assert chosen.lengths.tolist() == [0, 4]


def test_items_are_named_once_and_padding_names_none():
    items = torch.tensor([[2, 2, 0], [NO_ITEM, 1, NO_ITEM], [NO_ITEM] * 3])
    expected = [[True, False, True], [False, True, False], [False] * 3]
    assert is_named(items, 3).tolist() == expected
    assert is_named(items[:, :0], 3).tolist() == [[False] * 3] * 3


def test_weights_go_with_their_items():
    histories = HistoryBatch(
        items=torch.tensor([[5, 6, 7], [8, NO_ITEM, NO_ITEM]]),
        lengths=torch.tensor([3, 1]),
        weights=torch.tensor([[0.5, 0.6, 0.7], [0.8, 0, 0]]),
    )
    latest = histories.latest(2).to("cpu")
    torch.testing.assert_close(latest.weights, torch.tensor([[0.6, 0.7], [0.8, 0]]))
    assert histories.select(torch.tensor([1, 0])).weights.equal(histories.weights[[1, 0]])
    vectors = torch.ones(2, 3, 4)
    assert histories.weighted(vectors)[:, :, 0].equal(histories.weights)
    plain = HistoryBatch(items=histories.items, lengths=histories.lengths)
    assert plain.weighted(vectors) is vectors


WEIGHTED = HistoryBatch(
    items=torch.tensor([[4, 5, 6], [7, 8, NO_ITEM]]),
    lengths=torch.tensor([3, 2]),
    weights=torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.0]]),
)


def test_the_first_items_of_each_history_and_all_columns_but_the_last():
    first = WEIGHTED.first(torch.tensor([1, 2]))
    assert first.items.tolist() == [[4, NO_ITEM, NO_ITEM], [7, 8, NO_ITEM]]
    assert first.lengths.tolist() == [1, 2]
    assert first.weights is WEIGHTED.weights
    shorter = WEIGHTED.without_last()
    assert shorter.items.tolist() == [[4, 5], [7, 8]]
    assert shorter.weights.equal(WEIGHTED.weights[:, :2])
    assert shorter.lengths.tolist() == [3, 2]


@given(st.data())
def test_among_a_few_the_same_items_are_named_as_among_all(data):
    rows = data.draw(st.lists(st.lists(st.integers(-1, 6), min_size=3, max_size=3), min_size=1))
    some = torch.tensor(sorted(data.draw(st.sets(st.integers(0, 6), min_size=1))))
    items = torch.tensor(rows)
    assert torch.equal(is_named_among(items, some), is_named(items, 7)[:, some])


def test_moments_belong_to_users_and_stay_with_them():
    histories = HistoryBatch(
        items=torch.tensor([[3, 1, 2], [4, NO_ITEM, NO_ITEM]]),
        lengths=torch.tensor([3, 1]),
        moments=torch.tensor([70, 90]),
    )
    changed = (histories.to("cpu"), histories.latest(2), histories.without_last())
    cut = histories.first(torch.tensor([2, 0]))
    assert [each.moments.tolist() for each in (*changed, cut)] == [[70, 90]] * 4
    chosen = histories.select(torch.tensor([1, 1, 0]))  # another number of users
    assert chosen.moments.tolist() == [90, 90, 70]
