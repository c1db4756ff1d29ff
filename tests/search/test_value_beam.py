"""Value-guided beam search, compared with plain Python and with the searches it must equal."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import Trie
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding

from .fakes import (
    PrefixTable,
    ValueTable,
    brute_force,
    catalogs,
    found,
    histories_of,
    leaf_paths,
    prefix_log_probs,
)

CUBE = np.array(list(itertools.product(range(4), repeat=3)))


def value_of(model, history, path):
    """V of one prefix, computed node by node."""
    step, context = model.encode(history, capacity=len(path))
    for level, code in enumerate(path):
        step, context = model.extend(
            context,
            torch.tensor([[code]]),
            torch.tensor([[level]]),
            torch.tensor([[level + 1]]),
            is_node=torch.tensor([[True]]),
        )
    return float(step.value[0, 0])


@settings(max_examples=25)
@given(catalogs(), st.integers(1, 4), st.integers(0, 5), st.sampled_from([0.0, 0.7]))
def test_it_chooses_as_plain_python_does(catalog, num_beams, more, weight):
    ids, sizes = catalog
    trie, model, history = Trie.build(ids, sizes), ValueTable(sizes), histories_of(5)
    policy = ValueBeamSearch(
        num_beams=num_beams, candidates=num_beams + more, likelihood_weight=weight
    )
    # Another user comes first, and must not matter.
    answer = policy.search(model, histories_of(2, 5), Scope(trie=trie))
    beams, tokens = [()], 1
    for depth in range(1, len(sizes) + 1):
        prefixes = sorted({tuple(row[:depth]) for row in ids.tolist()})
        log_probs = prefix_log_probs(model, history, ids, depth)
        reached = [prefix for prefix in prefixes if prefix[:-1] in beams]
        likely = sorted(reached, key=lambda prefix: -log_probs[prefix])[: num_beams + more]
        tokens += len(likely)
        score = {p: value_of(model, history, p) + weight * log_probs[p] for p in likely}
        beams = sorted(likely, key=lambda prefix: -score[prefix])[:num_beams]
    assert leaf_paths(answer, trie, 1) == beams
    assert answer.scores[1, : len(beams)].tolist() == pytest.approx(
        [score[path] for path in beams], abs=1e-4
    )
    assert found(answer, trie, 1) == pytest.approx(
        {path: brute_force(model, history, ids)[0][path] for path in beams}, abs=1e-4
    )
    assert int(answer.spent.tokens[1]) == tokens == int(answer.tree.is_node[1].sum())


def test_it_costs_what_it_extends():
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    policy = ValueBeamSearch(num_beams=2, candidates=4)
    answer = policy.search(model, histories_of(1, 2), Scope(trie=trie))
    assert answer.spent.tokens.tolist() == [13, 13]  # 1 + 3 · 4
    assert answer.score_kind == "value"


def test_with_no_choice_it_keeps_the_beams_and_as_wide_as_the_trie_it_ranks_as_ved_does():
    trie, model = Trie.build(CUBE, (4, 4, 4)), ValueTable((4, 4, 4))
    histories, scope = histories_of(1, 2), Scope(trie=trie)
    narrow = ValueBeamSearch(num_beams=3, candidates=3).search(model, histories, scope)
    beam = BeamSearch(num_beams=3).search(model, histories, scope)
    assert narrow.leaves.sort(dim=1).values.equal(beam.leaves.sort(dim=1).values)
    wide = ValueBeamSearch(num_beams=64, candidates=64).search(model, histories, scope)
    whole = ValueGuidedDecoding(budget=200, num_leaves=64).search(model, histories, scope)
    assert wide.leaves.equal(whole.leaves)
    assert wide.scores.equal(whole.scores)


def test_settings_that_mean_nothing_and_models_without_values_are_refused():
    trie = Trie.build(CUBE, (4, 4, 4))
    for changes, words in (
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"num_beams": 3, "candidates": 2}, "candidates must be at least num_beams, got 2 for 3"),
        ({"likelihood_weight": -0.5}, "likelihood_weight must be 0 or more"),
    ):
        with pytest.raises(ValueError, match=words):
            ValueBeamSearch(**changes)
    with pytest.raises(ValueError, match="put a value head onto it"):
        ValueBeamSearch().search(PrefixTable((4, 4, 4)), histories_of(1), Scope(trie=trie))
