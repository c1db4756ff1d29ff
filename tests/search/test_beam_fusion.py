"""BeamFusion: golden scores by hand, its width, its cost, and what it refuses."""

import math

import numpy as np
import pytest
import torch

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.search.beam import BeamSearch
from sidestep.search.beam_fusion import BeamFusion
from sidestep.search.policy import Scope
from sidestep.step import StepOutput

from .fakes import NumberedContext, PrefixTable, histories_of

IDS = np.array([[0, 0], [0, 1], [1, 0], [2, 0], [2, 1], [2, 2]])
FIRST = [0.5, 0.3, 0.2]
"""Probabilities of the first codes."""

COSINES = [[0.2, 0.6, -math.inf], [0.9, -math.inf, -math.inf], [0.8, -0.5, 0.1]]
"""Logits of the last codes, by first code."""


class TwoLevels:
    """Model with the first codes of `FIRST` and the last codes of `COSINES`, for every history."""

    codebook_sizes = (3, 3)
    num_actions = 3

    def encode(self, histories, *, capacity):
        logits = torch.tensor(FIRST).log().expand(len(histories.items), 1, 3)
        prefixes = torch.zeros(len(histories.items), 1, dtype=torch.long)
        return StepOutput(logits=logits, hidden=logits), NumberedContext(prefixes)

    def extend(self, context, codes, parents, depths, *, is_node, visible=None, depth=None):
        logits = torch.tensor(COSINES)[codes]
        return StepOutput(logits=logits, hidden=logits), context


def scope(**more):
    return Scope(trie=Trie.build(IDS, (3, 3)), **more)


def answer_of(policy, space):
    """The codes of the leaves of one user, their scores and their log-probabilities."""
    found = policy.search(TwoLevels(), histories_of(0), space)
    paths = [tuple(path) for path in space.trie.path(found.leaves)[0].tolist()]
    return paths, found.scores[0].tolist(), found.log_probs[0].tolist(), found


@pytest.mark.parametrize(("tau", "psi"), [(1.0, 1.0), (0.9, 16.0), (3.0, 0.5)])
def test_a_score_is_the_product_of_two_softmaxes_by_hand(tau, psi):
    """Two beams keep the first codes 0 and 1, so three leaves are candidates."""
    first = np.array(FIRST[:2]) ** tau
    first /= first.sum()
    last = {(0, 0): 0.2, (0, 1): 0.6, (1, 0): 0.9}
    total = sum(math.exp(psi * cosine) for cosine in last.values())
    expected = {
        path: math.log(first[path[0]] * math.exp(psi * cosine) / total)
        for path, cosine in last.items()
    }
    paths, scores, _, _ = answer_of(BeamFusion(num_beams=2, tau=tau, psi=psi), scope())
    ranked = sorted(expected, key=expected.get, reverse=True)
    assert paths == ranked[:2]
    assert scores == pytest.approx([expected[path] for path in ranked[:2]], abs=1e-5)


def test_six_leaves_in_numbers():
    """φ = (.5, .3, .2) and τ = ψ = 1. Every leaf is a candidate, and Σ exp(cos) = 9.4403."""
    paths, scores, log_probs, found = answer_of(BeamFusion(num_beams=6), scope())
    assert paths == [(0, 1), (1, 0), (0, 0), (2, 0), (2, 2), (2, 1)]
    by_hand = [-2.3381, -2.5490, -2.7381, -3.0544, -3.7544, -4.3544]
    assert scores == pytest.approx(by_hand, abs=1e-4)
    assert found.score_kind == "beam fusion"
    # The log-probabilities are those of the model: the only item below code 1 is certain there.
    assert dict(zip(paths, log_probs, strict=True))[1, 0] == pytest.approx(math.log(0.3))


def test_the_items_below_all_beams_compete_where_a_plain_beam_compares_siblings():
    """The lone item below code 1 keeps all of its prefix in a plain beam: .3 against .5 · .6."""
    plain, _, _, _ = answer_of(BeamSearch(num_beams=2), scope())
    assert plain[0] == (1, 0)
    fused, _, _, _ = answer_of(BeamFusion(num_beams=2, psi=0.5), scope())
    assert fused[0] == (0, 1)


def test_among_a_prefix_the_second_softmax_sums_over_its_leaves_alone():
    """With ψ = 2: .5 / .8 · e^1.2 / (e^.4 + e^1.2), and .3 / .8 for the lone item of code 1."""
    policy = BeamFusion(num_beams=2, psi=2.0, among="prefix")
    paths, scores, _, _ = answer_of(policy, scope())
    share = math.exp(1.2) / (math.exp(0.4) + math.exp(1.2))
    assert paths == [(0, 1), (1, 0)]
    assert scores == pytest.approx([math.log(0.5 * share / 0.8), math.log(0.3 / 0.8)], abs=1e-5)


def test_among_a_prefix_without_weights_it_ranks_as_a_plain_beam():
    ids = np.array([[a, b, c] for a in range(3) for b in range(3) for c in range(3)])
    space, model = Scope(trie=Trie.build(ids, (3, 3, 3))), PrefixTable((3, 3, 3))
    one, other = (
        policy.search(model, histories_of(4, 7), space)
        for policy in (BeamFusion(num_beams=5, among="prefix"), BeamSearch(num_beams=5))
    )
    assert one.leaves.equal(other.leaves)
    torch.testing.assert_close(one.log_probs, other.log_probs)


def test_what_is_sold_out_is_no_candidate_and_takes_no_share():
    available = scope().trie.availability(torch.tensor([True, False, True, True, False, False]))
    paths, scores, _, found = answer_of(BeamFusion(num_beams=6), scope(available=available))
    assert set(paths[:3]) == {(0, 0), (1, 0), (2, 0)}
    assert (found.leaves[0, 3:] == NO_STATE).all()
    total = math.exp(0.2) + math.exp(0.9) + math.exp(0.8)
    of = dict(zip(paths, scores, strict=False))
    assert of[0, 0] == pytest.approx(math.log(0.5 * math.exp(0.2) / total), abs=1e-5)


def test_it_costs_the_tokens_of_a_plain_beam():
    ids = np.array([[a, b, c] for a in range(3) for b in range(3) for c in range(3)])
    space, model = Scope(trie=Trie.build(ids, (3, 3, 3))), PrefixTable((3, 3, 3))
    costs = [
        policy.search(model, histories_of(4, 7), space).spent.tokens.tolist()
        for policy in (BeamFusion(num_beams=5), BeamSearch(num_beams=5))
    ]
    assert costs[0] == costs[1] == [1 + 3 + 5] * 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_beams", 0), ("tau", 0.0), ("psi", -1.0), ("psi", math.inf), ("tau", math.nan)],
)
def test_senseless_settings_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        BeamFusion(**{field: value})


def test_sets_of_codes_are_refused():
    space = SetSpace.of_codes(torch.tensor([[0, 0], [1, 1]]), (2, 2))
    with pytest.raises(TypeError, match="beam-fusion needs the trie of a catalog"):
        BeamFusion().search(TwoLevels(), histories_of(0), space)
