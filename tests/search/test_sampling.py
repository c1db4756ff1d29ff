"""Sampling, compared with exact probabilities, and with beams if both must agree; as a policy."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.search.sampling import Sampling, below_maximum, likeliest_only, nucleus
from sidestep.step import StepOutput

from .fakes import PrefixTable, brute_force, catalogs, found, histories_of

IDS = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 2]])


class SamePolicy(PrefixTable):
    """Prefix table with the same probabilities for all users, so that many users are many draws."""

    def encode(self, histories, *, capacity):
        same = histories_of(*[1] * len(histories.lengths))
        return super().encode(same, capacity=capacity)


class Colder(PrefixTable):
    """Prefix table whose logits are divided by a temperature."""

    def __init__(self, codebook_sizes, temperature):
        super().__init__(codebook_sizes)
        self.temperature = temperature

    def _output(self, prefixes, depths):
        step = super()._output(prefixes, depths)
        return StepOutput(logits=step.logits / self.temperature, hidden=step.hidden)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_pairs_are_drawn_as_often_as_sampling_without_replacement_says(temperature):
    sizes, num_users = (3, 3), 20_000
    trie, model = Trie.build(IDS, sizes), SamePolicy(sizes)
    policy = Sampling(num_samples=2, temperature=temperature)
    drawn = policy.search(model, histories_of(*range(num_users)), Scope(trie=trie)).leaves
    counts = {}
    for pair in drawn.sort(dim=1).values.tolist():
        counts[tuple(pair)] = counts.get(tuple(pair), 0) + 1
    tempered = brute_force(Colder(sizes, temperature), histories_of(1), IDS)[0]
    leaves = torch.arange(trie.first_leaf, trie.num_nodes())
    paths = map(tuple, trie.path(leaves).tolist())
    probs = {
        leaf: math.exp(tempered[path]) for leaf, path in zip(leaves.tolist(), paths, strict=True)
    }
    for first, second in itertools.combinations(sorted(probs), 2):
        p, q = probs[first], probs[second]
        expected = p * q / (1 - p) + q * p / (1 - q)
        error = (expected * (1 - expected) / num_users) ** 0.5
        assert abs(counts.get((first, second), 0) / num_users - expected) < 4.5 * error


@settings(max_examples=25)
@given(catalogs(), st.integers(1, 6), st.integers(0, 99))
def test_distinct_legal_leaves_at_the_cost_of_a_beam(catalog, num_samples, seed):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    policy = Sampling(num_samples=num_samples, seed=seed)
    answer = policy.search(model, histories_of(3, 8), Scope(trie=trie))
    for user, expected in enumerate(brute_force(model, histories_of(3, 8), ids)):
        leaves = answer.leaves[user][answer.leaves[user] != NO_STATE].tolist()
        assert len(leaves) == len(set(leaves)) == min(num_samples, trie.num_leaves)
        own = found(answer, trie, user)
        assert own == pytest.approx({path: expected[path] for path in own}, abs=1e-4)
        ranked = answer.log_probs[user].tolist()
        assert ranked == sorted(ranked, reverse=True) == answer.scores[user].tolist()
    # All prefixes of the sample are kept: as many as the sample has, or all of the trie.
    kept = [min(num_samples, trie.num_nodes(depth)) for depth in range(1, len(sizes))]
    assert all(1 + len(kept) <= tokens <= 1 + sum(kept) for tokens in answer.spent.tokens.tolist())


@settings(max_examples=25)
@given(catalogs(), st.integers(1, 6))
def test_without_heat_it_is_a_beam_over_the_same_cold_policy(catalog, number):
    ids, sizes = catalog
    trie, histories = Trie.build(ids, sizes), histories_of(2, 6)
    cold = Sampling(num_samples=number, temperature=1e-4)
    drawn = cold.search(PrefixTable(sizes), histories, Scope(trie=trie))
    beam = BeamSearch(num_beams=number).search(Colder(sizes, 1e-4), histories, Scope(trie=trie))
    for user in range(2):
        assert found(drawn, trie, user).keys() == found(beam, trie, user).keys()


def test_another_seed_draws_others():
    ids = np.array(list(itertools.product(range(3), repeat=3)))
    trie, model = Trie.build(ids, (3, 3, 3)), PrefixTable((3, 3, 3))
    drawn = [
        Sampling(num_samples=4, seed=seed).search(model, histories_of(5, 2, 9), Scope(trie=trie))
        for seed in (0, 0, 1)
    ]
    assert drawn[0].leaves.equal(drawn[1].leaves)
    assert not drawn[0].leaves.equal(drawn[2].leaves)


@pytest.mark.parametrize("cut", [{"top_k": 1}, {"top_p": 1e-6}])
def test_a_cut_to_the_likeliest_code_leaves_the_greedy_walk_alone(cut):
    ids = np.array(list(itertools.product(range(3), repeat=3)))
    trie, model = Trie.build(ids, (3, 3, 3)), PrefixTable((3, 3, 3))
    histories = histories_of(*range(8))
    answer = Sampling(num_samples=5, **cut).search(model, histories, Scope(trie=trie))
    greedy = BeamSearch(num_beams=1).search(model, histories, Scope(trie=trie))
    assert answer.leaves[:, :1].equal(greedy.leaves)
    assert (answer.leaves[:, 1:] == NO_STATE).all()
    assert (answer.log_probs[:, 1:] == -torch.inf).all()


def test_cuts_by_hand():
    logs = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
    kept = [[False, True, False, True]]
    assert (likeliest_only(logs, 2) > -torch.inf).tolist() == kept
    assert (nucleus(logs, 0.7 - 1e-6) > -torch.inf).tolist() == kept
    assert (nucleus(logs, 0.7 + 1e-6) > -torch.inf).tolist() == [[False, True, True, True]]
    equal = torch.zeros(1, 3)
    assert (likeliest_only(equal, 2) > -torch.inf).tolist() == [[True, True, False]]


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=5), st.floats(-30, 30), st.booleans())
def test_siblings_below_a_maximum_keep_their_order_and_follow_the_formula(values, maximum, gap):
    given_values = [*values, -math.inf] if gap else values
    perturbed = torch.tensor(given_values, dtype=torch.float64)[None, None]
    moved = below_maximum(perturbed, torch.tensor([[maximum]], dtype=torch.float64))[0, 0]
    assert float(moved.max()) == pytest.approx(maximum)
    if gap:
        assert float(moved[-1]) == -math.inf
    for value, got in zip(values, moved.tolist(), strict=False):
        if abs(value) < 8 and abs(maximum) < 8 and abs(max(values)) < 8:
            terms = math.exp(-maximum) - math.exp(-max(values)) + math.exp(-value)
            assert got == pytest.approx(-math.log(terms), abs=1e-6)
    for (one, its), (two, other) in itertools.combinations(
        zip(values, moved.tolist(), strict=False), 2
    ):
        assert (its <= other + 1e-9) if one <= two else (its >= other - 1e-9)


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0"),
        ({"top_k": 0}, "None draws from all"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings_, words):
    with pytest.raises(ValueError, match=words):
        Sampling(**settings_)
