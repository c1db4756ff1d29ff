"""Search trees, compared with the searches that they show."""

import itertools

import numpy as np
import pytest
import torch

from sidestep.catalog.trie import Trie
from sidestep.evaluation.search_tree import search_tree
from sidestep.search.beam import BeamSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import Scope
from sidestep.search.proposals import plain_beam
from sidestep.search.scorer import Guidance
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding
from tests.search.fakes import ItemTable, ValueTable, histories_of, prefix_log_probs, value_of

IDS = np.array(list(itertools.product(range(6), repeat=4)))
SIZES = (6, 6, 6, 6)
SCOPE = Scope(trie=Trie.build(IDS, SIZES))
MODEL = ValueTable(SIZES)
GUIDANCE = Guidance(scorer=ItemSupport(head=ItemTable(len(IDS))), likelihood_weight=1.0)
SEARCHES = (
    plain_beam(num_beams=8, candidates=24),
    GuidedBeamSearch(guidance=GUIDANCE, num_beams=8, candidates=24, name="item-beam"),
)


def test_a_small_tree_by_hand():
    ids = np.array(list(itertools.product(range(3), repeat=2)))
    scope, model = Scope(trie=Trie.build(ids, (3, 3))), ValueTable((3, 3))
    first, second = (prefix_log_probs(model, histories_of(2), ids, depth) for depth in (1, 2))
    codes = sorted(first, key=first.get, reverse=True)
    kept = codes[0]
    target = (*codes[2], 1)
    policy = plain_beam(num_beams=1, candidates=2)
    tree = search_tree(policy, model, histories_of(2), scope, target=3 * target[0] + target[1])
    told = {
        tuple(code for code in scope.trie.path(torch.tensor(node.state)).tolist() if code >= 0): (
            node.fate,
            node.rank,
            node.is_target,
        )
        for node in tree.nodes.values()
    }
    likeliest, next_one, _ = sorted(
        (path for path in second if path[:1] == kept), key=second.get, reverse=True
    )
    assert told == {
        (): ("expanded", None, True),
        kept: ("expanded", 1, False),
        codes[1]: ("pruned", 2, False),
        codes[2]: ("unproposed", None, True),
        likeliest: ("kept", 1, False),
        next_one: ("pruned", 2, False),
        target: ("unproposed", None, True),
    }
    for node in tree.nodes.values():
        path = tuple(scope.trie.path(torch.tensor(node.state))[: node.depth].tolist())
        assert node.code == (path[-1] if path else -1)
        expected = {0: {(): 0.0}, 1: first, 2: second}[node.depth][path]
        assert node.log_prob == node.score == pytest.approx(expected, abs=1e-5)


def test_a_tree_that_grew_by_values_shows_them_and_what_it_ended_at():
    policy = ValueGuidedDecoding()
    tree = search_tree(policy, MODEL, histories_of(4), SCOPE, target=1295)
    found = policy.search(MODEL, histories_of(4), SCOPE)
    grown = found.tree.states[0][found.tree.is_node[0]].tolist()
    shown = {node.state for node in tree.nodes.values() if node.fate in ("expanded", "kept")}
    assert shown == set(grown) | set(found.leaves[0].tolist())
    for state in grown[1:]:
        node = tree.nodes[state]
        path = SCOPE.trie.path(torch.tensor(state))[: node.depth].tolist()
        assert node.score == pytest.approx(value_of(MODEL, 4, path), abs=1e-5)


def test_a_plain_beam_is_ranked_by_likelihood():
    beam = BeamSearch(num_beams=8)
    tree = search_tree(beam, MODEL, histories_of(4), SCOPE, target=148)
    assert (tree.name, tree.score_kind, tree.num_levels) == ("beam", "log_prob", 4)
    assert all(node.score == node.log_prob for node in tree.nodes.values())


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_value_beam_keeps_what_its_tree_ranks_first(weight):
    policy = ValueBeamSearch(num_beams=8, candidates=24, likelihood_weight=weight)
    tree = search_tree(policy, MODEL, histories_of(4), SCOPE, target=1295)
    assert tree.score_kind == ("value + log_prob" if weight else "value")
    kept = [node for node in tree.nodes.values() if node.fate in ("expanded", "kept")]
    assert {node.rank for node in kept if node.depth > 1} == set(range(1, 9))
    found = policy.search(MODEL, histories_of(4), SCOPE)
    best = [tree.nodes[state].score for state in found.leaves[0].tolist()]
    assert best == pytest.approx(found.scores[0].tolist(), abs=1e-5)


def test_a_node_has_the_fate_that_the_search_gave_it():
    for policy in SEARCHES:
        tree = search_tree(policy, MODEL, histories_of(4), SCOPE, target=1295)
        found = policy.search(MODEL, histories_of(4), SCOPE)
        trie = SCOPE.trie
        returned = set(found.leaves[0].tolist())
        inner = set(found.tree.states[0, 1:].tolist())
        for node in tree.nodes.values():
            if node.depth == 0:
                continue
            assert node.parent == int(trie.parent(torch.tensor(node.state)))
            if node.state in returned:
                assert node.fate == "kept"
            elif node.state in inner:
                assert node.fate in ("expanded", "kept")
            else:
                assert node.fate in ("pruned", "unproposed")
        for depth in range(1, 5):
            assert tree.count(depth, "expanded", "kept") == (6 if depth == 1 else 8)
            at = [node for node in tree.nodes.values() if node.depth == depth]
            assert tree.count(depth, "expanded", "kept", "pruned") == (6 if depth == 1 else 24)
            assert sum(node.is_target for node in at) == 1
            ranked = sorted((node for node in at if node.rank), key=lambda node: node.rank)
            scores = [node.score for node in ranked]
            assert scores == sorted(scores, reverse=True)
            kept = [node.state for node in ranked if node.fate in ("expanded", "kept")]
            assert kept == [node.state for node in ranked[: len(kept)]]


def test_what_is_drawn_hangs_together_and_leads_to_the_target():
    tree = search_tree(SEARCHES[1], MODEL, histories_of(4), SCOPE, target=1295)
    shown = tree.thinned(num_leaves=3, num_pruned=1)
    assert len(shown.nodes) < len(tree.nodes) / 2
    for node in shown.nodes.values():
        assert node.depth == 0 or node.parent in shown.nodes
    assert sum(node.is_target for node in shown.nodes.values()) == 5
    leaves = [node for node in shown.nodes.values() if node.depth == 4 and node.fate == "kept"]
    assert sorted(node.rank for node in leaves if not node.is_target)[:3] == [1, 2, 3]
