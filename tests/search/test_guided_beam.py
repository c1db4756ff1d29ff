"""Guided beam search, compared with plain beam search, the guided oracle and plain Python."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import Scope
from sidestep.search.scorer import Guidance

from .fakes import (
    CountedTable,
    ItemTable,
    PrefixTable,
    brute_force,
    catalogs,
    found,
    histories_of,
    leaf_paths,
    prefix_log_probs,
)


@dataclass(frozen=True)
class StateTable:
    """Scorer whose scores depend on the state and the user's first item, by a fixed hash."""

    name: str = "table"

    def begin(self, histories, root, context, scope):
        user = root.hidden[:, 0, :1]
        return lambda states, depth: torch.sin(states * 4.3 + user + depth)


@dataclass(frozen=True)
class CountedStateTable(StateTable):
    """State table that takes 1000 FLOPs per past item and 10 per prefix."""

    def flops(self, histories, asked, scope):
        return 1000 * histories.lengths + 10 * (asked != NO_STATE).sum(dim=1)


SCORER = StateTable()
GUIDANCE = Guidance(scorer=SCORER)


@settings(max_examples=25)
@given(catalogs(), st.integers(1, 6))
def test_without_candidates_to_choose_from_it_keeps_the_beams(catalog, num_beams):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    histories, scope = histories_of(1, 7), Scope(trie=trie)
    plain = BeamSearch(num_beams=num_beams).search(model, histories, scope)
    same = GuidedBeamSearch(guidance=GUIDANCE, num_beams=num_beams, candidates=num_beams)
    guided = same.search(model, histories, scope)
    for user in range(2):
        assert found(guided, trie, user) == pytest.approx(found(plain, trie, user), abs=1e-5)
    assert guided.spent.tokens.tolist() == plain.spent.tokens.tolist()


@settings(max_examples=25)
@given(catalogs(), st.sampled_from([0.0, 0.3, 2.0]))
def test_as_wide_as_the_catalog_it_equals_the_guided_oracle(catalog, weight):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    guidance = Guidance(scorer=SCORER, likelihood_weight=weight)
    histories, scope = histories_of(3, 8), Scope(trie=trie)
    width = len(ids)
    policy = GuidedBeamSearch(guidance=guidance, num_beams=width, candidates=width)
    guided = policy.search(model, histories, scope)
    oracle = ExhaustiveSearch(num_leaves=width, guidance=guidance, chunk_size=3)
    best = oracle.search(model, histories, scope)
    scores_of = guidance.begin(histories, *model.encode(histories, capacity=0), scope)
    for user, log_probs in enumerate(brute_force(model, histories, ids)):
        assert found(guided, trie, user) == pytest.approx(log_probs, abs=1e-4)
        assert found(best, trie, user) == pytest.approx(log_probs, abs=1e-4)
        leaves = guided.leaves[user][guided.leaves[user] != NO_STATE]
        own = scores_of(leaves.expand(2, -1), len(sizes))[user]
        expected = own + weight * guided.log_probs[user, : len(leaves)]
        for answer in (guided, best):
            scores = answer.scores[user, : len(leaves)]
            assert scores.tolist() == pytest.approx(sorted(expected.tolist(), reverse=True), 1e-4)


@settings(max_examples=25)
@given(catalogs(), st.integers(1, 4), st.integers(0, 5), st.booleans())
def test_it_chooses_as_plain_python_does(catalog, num_beams, more, is_weighed):
    ids, sizes = catalog
    trie, model = Trie.build(ids, sizes), PrefixTable(sizes)
    histories, scope = histories_of(5), Scope(trie=trie)
    number = num_beams + more
    weights = tuple(is_weighed * 4.0 / 5**level for level in range(len(sizes)))
    guidance = Guidance(scorer=SCORER, likelihood_weight=weights)
    policy = GuidedBeamSearch(guidance=guidance, num_beams=num_beams, candidates=number)
    answer = policy.search(model, histories, scope)
    scores_of = guidance.begin(histories, *model.encode(histories, capacity=0), scope)
    beams = [()]
    for depth in range(1, len(sizes) + 1):
        prefixes = sorted({tuple(row[:depth]) for row in ids.tolist()})
        reached = [prefix for prefix in prefixes if prefix[:-1] in beams]
        log_probs = prefix_log_probs(model, histories, ids, depth)
        likely = sorted(reached, key=lambda prefix: -log_probs[prefix])[:number]
        states = {
            tuple(trie.path(torch.tensor(s))[:depth].tolist()): s for s in trie.nodes_at(depth)
        }
        score = {
            prefix: float(scores_of(torch.tensor([[states[prefix]]]), depth))
            + weights[depth - 1] * log_probs[prefix]
            for prefix in likely
        }
        beams = sorted(likely, key=lambda prefix: -score[prefix])[:num_beams]
    assert leaf_paths(answer, trie, 0) == beams


@settings(max_examples=25)
@given(catalogs(), st.integers(1, 4), st.integers(0, 5))
def test_what_is_scored_and_what_it_takes_are_counted(catalog, num_beams, more):
    ids, sizes = catalog
    trie, model, histories = Trie.build(ids, sizes), CountedTable(sizes), histories_of(5, 2)
    guidance = Guidance(scorer=CountedStateTable())
    number = num_beams + more
    policy = GuidedBeamSearch(guidance=guidance, num_beams=num_beams, candidates=number)
    answer = policy.search(model, histories, Scope(trie=trie))
    # Number of prefixes to choose from at each level: the children of the kept prefixes.
    kept = [
        {tuple(path[path >= 0].tolist()) for path in paths}
        for paths in trie.path(answer.tree.states.masked_fill(~answer.tree.is_node, 0))
    ]
    for user, prefixes in enumerate(kept):
        expected = 0
        for depth in range(1, len(sizes) + 1):
            longer = {tuple(row[:depth]) for row in ids.tolist()}
            expected += min(number, sum(prefix[:-1] in prefixes for prefix in longer))
        assert answer.spent.scored[user] == expected
    inner = answer.spent.tokens - 1
    assert (
        answer.spent.flops.tolist() == (100 + 7 * inner + 1000 + 10 * answer.spent.scored).tolist()
    )
    oracle = ExhaustiveSearch(guidance=guidance, chunk_size=3).search(
        model, histories, Scope(trie=trie)
    )
    assert oracle.spent.scored.tolist() == [trie.num_leaves] * 2
    inner = oracle.spent.tokens - 1
    assert (
        oracle.spent.flops.tolist() == (100 + 7 * inner + 1000 + 10 * oracle.spent.scored).tolist()
    )


def test_nothing_is_asked_of_what_is_out_of_scope():
    ids, sizes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), (2, 2)
    trie, model, histories = Trie.build(ids, sizes), CountedTable(sizes), histories_of(5, 2)
    available = trie.availability(torch.tensor([True, False, True, True]))
    guidance = Guidance(scorer=CountedStateTable())
    policy = GuidedBeamSearch(guidance=guidance, num_beams=2, candidates=4)
    answer = policy.search(model, histories, Scope(trie=trie, available=available))
    assert answer.spent.scored.tolist() == [2 + 3, 2 + 3]
    inner = answer.spent.tokens - 1
    assert (
        answer.spent.flops.tolist() == (100 + 7 * inner + 1000 + 10 * answer.spent.scored).tolist()
    )


def test_a_plain_search_scores_nothing_and_a_scorer_that_tells_no_cost_leaves_it_unknown():
    trie, model = Trie.build(np.array([[0, 0], [1, 1]]), (2, 2)), CountedTable((2, 2))
    histories, scope = histories_of(1), Scope(trie=trie)
    plain = BeamSearch(num_beams=2).search(model, histories, scope)
    assert plain.spent.scored.tolist() == [0]
    assert plain.spent.flops.tolist() == [100 + 7 * 2]
    every = ExhaustiveSearch().search(model, histories, scope)
    assert (every.spent.scored.tolist(), every.spent.flops.tolist()) == ([0], [100 + 7 * 2])
    untold = GuidedBeamSearch(guidance=GUIDANCE, num_beams=2, candidates=2)
    assert untold.search(model, histories, scope).spent.flops is None
    head = Guidance(scorer=ItemSupport(head=ItemTable(2)))
    untold = GuidedBeamSearch(guidance=head, num_beams=2, candidates=2)
    assert untold.search(model, histories, scope).spent.flops is None


def test_levels_without_candidates_are_plain():
    ids = np.array(list(itertools.product(range(4), repeat=3)))
    trie, model = Trie.build(ids, (4, 4, 4)), PrefixTable((4, 4, 4))
    histories, scope = histories_of(1, 2), Scope(trie=trie)
    plain = BeamSearch(num_beams=3).search(model, histories, scope)
    last = GuidedBeamSearch(guidance=GUIDANCE, num_beams=3, candidates=(None, None, 12))
    first = GuidedBeamSearch(guidance=GUIDANCE, num_beams=3, candidates=(4, None, None))
    assert last.search(model, histories, scope).tree.states.equal(plain.tree.states)
    assert last.search(model, histories, scope).score_kind == "table"
    assert not first.search(model, histories, scope).tree.states.equal(plain.tree.states)
    assert first.search(model, histories, scope).score_kind == "log_prob"


def test_wide_item_support_returns_the_ranking_of_the_item_head():
    ids = np.array(list(itertools.product(range(3), repeat=3)))
    trie, model, head = Trie.build(ids, (3, 3, 3)), PrefixTable((3, 3, 3)), ItemTable(27)
    guidance = Guidance(scorer=ItemSupport(head=head))
    policy = GuidedBeamSearch(guidance=guidance, num_beams=27, candidates=27)
    histories = histories_of(1, 6)
    answer = policy.search(model, histories, Scope(trie=trie))
    root, _ = model.encode(histories, capacity=0)
    ranking = head.item_logits(root.hidden[:, 0], histories).argsort(dim=1, descending=True)
    assert trie.items(answer.leaves)[..., 0].tolist() == ranking.tolist()
    assert answer.score_kind == "item-support"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"candidates": 2}, "candidates must be at least num_beams, got 2 for 3"),
        ({"candidates": (8, 2)}, "candidates must be at least num_beams"),
        ({"candidates": (None, None)}, "that is a plain beam search"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        GuidedBeamSearch(**{"guidance": GUIDANCE, "num_beams": 3, "candidates": 4, **changes})


def test_each_depth_has_its_own_weight_of_likelihood():
    guidance = Guidance(scorer=SCORER, likelihood_weight=(1.0, 0.5, 0.25))
    scores, log_probs = torch.tensor([[3.0, 1.0, 0.5]]), torch.tensor([[-4.0, -2.0, -torch.inf]])
    for depth, expected in ((1, [-1.0, -1.0]), (2, [1.0, 0.0]), (3, [2.0, 0.5])):
        ranked_by = guidance.ranked_by(scores, log_probs, depth)
        assert ranked_by.tolist() == [[*expected, -torch.inf]]


def test_settings_of_another_catalog_are_refused():
    trie, model = Trie.build(np.array([[0, 0], [1, 1]]), (2, 2)), PrefixTable((2, 2))
    with pytest.raises(ValueError, match="likelihood_weight must be 0 or more"):
        Guidance(scorer=SCORER, likelihood_weight=-1.0)
    three = Guidance(scorer=SCORER, likelihood_weight=(1.0, 1.0, 1.0))
    for policy, words in (
        (GuidedBeamSearch(guidance=three, num_beams=1, candidates=2), "has 3 entries, but .* 2 co"),
        (GuidedBeamSearch(guidance=GUIDANCE, num_beams=1, candidates=(2,) * 3), "candidates has 3"),
    ):
        with pytest.raises(ValueError, match=words):
            policy.search(model, histories_of(1), Scope(trie=trie))


def test_one_negative_weight_among_several_is_refused():
    with pytest.raises(
        ValueError, match=r"likelihood_weight must be 0 or more, got \(1\.0, -0\.5\)"
    ):
        Guidance(scorer=StateTable(), likelihood_weight=(1.0, -0.5))
