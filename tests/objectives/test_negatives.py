import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.objectives.cross_entropy import next_item_cross_entropy, sampled_item_cross_entropy
from sidestep.objectives.negatives import NegativeSampler

SOURCES = ("in_batch", "popularity", "uniform")


def test_worked_example_of_weights(monkeypatch):
    """Two windows; item 3 is drawn twice, item 1 by its popularity once."""
    drawn = {"popularity": torch.tensor([1]), "uniform": torch.tensor([3, 3])}
    monkeypatch.setattr(NegativeSampler, "_drawn", lambda _self, source, _number: drawn[source])
    monkeypatch.setattr(NegativeSampler, "draws", lambda _self: {"popularity": 1, "uniform": 2})
    sampler = NegativeSampler.of(SOURCES, 3, torch.tensor([5, 3, 2, 0]))
    found = sampler.candidates(torch.tensor([0, 2, 1]), torch.tensor([0, 0, 1]))
    assert found.items.tolist() == [0, 1, 2, 3]
    assert found.columns.tolist() == [0, 2, 1]
    # Expected draws of window 0, which has one target beside it: (1 + 1) q + 2/4; of window 1,
    # which has two: (2 + 1) q + 2/4.
    first = [0, 2 / (2 * 0.3 + 0.5), 0, 2 / 0.5]
    second = [1 / (3 * 0.5 + 0.5), 1 / (3 * 0.3 + 0.5), 1 / (3 * 0.2 + 0.5), 2 / 0.5]
    expected = torch.tensor([[1, *first[1:]], [first[0], first[1], 1, first[3]], second])
    expected[2, 1] = 1  # the target's own item counts once
    torch.testing.assert_close(found.log_weights.exp(), expected)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@given(st.integers(0, 10_000), st.integers(2, 20))
def test_as_many_uniform_draws_as_items_give_the_exact_loss(label_smoothing, seed, num_items):
    torch.manual_seed(seed)
    sampler = NegativeSampler.of(("uniform",), num_items, torch.ones(num_items, dtype=torch.long))
    targets, weights = torch.randint(num_items, (5,)), torch.rand(5)
    scores = torch.randn(5, num_items, requires_grad=True)
    found = sampler.candidates(targets, torch.arange(5))
    sampled = sampled_item_cross_entropy(
        scores[:, found.items], found, num_items, label_smoothing=label_smoothing, weights=weights
    )
    exact = next_item_cross_entropy(
        scores, targets, label_smoothing=label_smoothing, weights=weights
    )
    torch.testing.assert_close(sampled, exact)
    torch.testing.assert_close(*(torch.autograd.grad(one, scores)[0] for one in (sampled, exact)))


def test_items_that_a_beam_finds_count_as_one_certain_draw(monkeypatch):
    monkeypatch.setattr(NegativeSampler, "_drawn", lambda *_: torch.tensor([3, 3, 1]))
    sampler = NegativeSampler.of(("uniform", "beam"), 3, torch.ones(6, dtype=torch.long))
    found = sampler.candidates(torch.tensor([0]), torch.tensor([0]), torch.tensor([5, 3, 5]))
    assert found.items.tolist() == [0, 1, 3, 5]
    # Three uniform draws of six items: each is expected 1/2 times, and once more where it is found.
    expected = torch.tensor([[1.0, 1 / 0.5, 3 / 1.5, 1 / 1.5]])
    torch.testing.assert_close(found.log_weights.exp(), expected)


@pytest.mark.parametrize("found_items", [None, [0, 4]])
@pytest.mark.parametrize("sources", [SOURCES, ("in_batch", "uniform"), ("uniform",)])
def test_the_sum_over_the_catalog_is_estimated_without_bias(sources, found_items):
    """Targets of other windows are drawn by the shares that the sampler is told."""
    by_beam = None if found_items is None else torch.tensor(found_items)
    torch.manual_seed(0)
    counts, num_draws = torch.tensor([12, 6, 3, 2, 1, 0]), 4000
    scores = torch.randn(6)
    sampler = NegativeSampler.of(sources, 4, counts)
    windows = torch.tensor([0, 0, 1, 1, 2])
    estimates = []
    for _ in range(num_draws):
        others = torch.multinomial(counts.float(), 5, replacement=True)
        # The first window holds what it will: its own items are no draws.
        targets = torch.where(windows == 0, torch.tensor([3, 1, 0, 0, 0]), others)
        found = sampler.candidates(targets, windows, by_beam)
        estimates.append((scores[found.items] + found.log_weights[0]).exp().sum())
    mean, error = torch.stack(estimates).mean(), torch.stack(estimates).std() / math.sqrt(num_draws)
    assert abs(mean - scores.exp().sum()) < 4 * error
    assert error < 0.05 * mean


def test_the_only_window_of_a_batch_has_no_others_to_draw_from_and_no_weight_is_undefined():
    sampler = NegativeSampler.of(("in_batch", "beam"), 1, torch.ones(6, dtype=torch.long))
    found = sampler.candidates(torch.tensor([0, 2]), torch.tensor([0, 0]), torch.tensor([4]))
    assert found.items.tolist() == [0, 2, 4]
    weights = found.log_weights.exp()
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))


def test_popular_items_are_drawn_by_their_share_and_items_without_a_target_never():
    torch.manual_seed(0)
    sampler = NegativeSampler.of(("popularity",), 8, torch.tensor([0, 3, 0, 1, 0]))
    assert sampler._drawn("popularity", 8).bincount(minlength=5).tolist() == [0, 6, 0, 2, 0]


@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from(["popularity", "uniform"]))
def test_no_item_is_drawn_much_more_or_less_often_than_expected(seed, number, source):
    torch.manual_seed(seed)
    counts = torch.tensor([5, 0, 3, 1, 1])
    sampler = NegativeSampler.of((source,), number, counts)
    drawn = sampler._drawn(source, number).bincount(minlength=5)
    share = counts / 10 if source == "popularity" else torch.full((5,), 0.2)
    assert drawn.sum() == number
    assert ((drawn - number * share).abs() < 2).all()


def test_draws_are_shared_out_and_the_batch_draws_nothing():
    counts = torch.ones(3, dtype=torch.long)
    assert NegativeSampler.of(SOURCES, 5, counts).draws() == {"popularity": 3, "uniform": 2}
    assert NegativeSampler.of(("in_batch",), 5, counts).draws() == {}


def test_a_source_of_another_name_is_refused():
    with pytest.raises(ValueError, match="no source 'popular'; there are in_batch, popularity"):
        NegativeSampler.of(("uniform", "popular"), 4, torch.ones(3, dtype=torch.long))


def test_each_target_has_negatives_of_its_own_and_the_target_is_none_of_them():
    torch.manual_seed(0)
    sampler = NegativeSampler.of(("popularity", "uniform"), 5, torch.tensor([4, 2, 1, 0]))
    targets = torch.tensor([0, 3, 1] * 20)
    negatives = sampler.per_target_negatives(targets)
    assert negatives.items.shape == (60, 5)
    assert torch.equal(negatives.is_negative, negatives.items != targets[:, None])
    assert not negatives.is_negative.all()
    # Three draws by popularity and two uniform ones: 3 q + 2/4 are expected of each item.
    expected = torch.tensor([3 * 4 / 7 + 0.5, 3 * 2 / 7 + 0.5, 3 / 7 + 0.5, 0.5])
    torch.testing.assert_close(negatives.log_weights, -expected.log()[negatives.items])
    # The draws of all targets are stratified, so they hold each item as often as expected.
    assert (negatives.items.flatten().bincount(minlength=4) - 60 * expected).abs().max() < 2
    assert len({tuple(row) for row in negatives.items.tolist()}) > 10


def test_the_weights_of_own_negatives_estimate_the_sum_over_the_catalog_without_bias():
    torch.manual_seed(0)
    scores, targets = torch.randn(6), torch.arange(6).repeat(5000)
    sampler = NegativeSampler.of(("popularity", "uniform"), 4, torch.tensor([12, 6, 3, 2, 1, 0]))
    negatives = sampler.per_target_negatives(targets)
    terms = (scores[negatives.items] + negatives.log_weights).exp() * negatives.is_negative
    estimates = (terms.sum(dim=1) + scores[targets].exp()).view(-1, 6)
    error = estimates.std(dim=0) / math.sqrt(len(estimates))
    assert ((estimates.mean(dim=0) - scores.exp().sum()).abs() < 4 * error).all()
