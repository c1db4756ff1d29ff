"""Reflective beam search, compared with plain Python and with the beam it must equal."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import Trie
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.search.reflective_beam import ReflectiveBeamSearch
from sidestep.step import jensen_shannon

from .fakes import (
    CategoryTable,
    CountedTable,
    PrefixTable,
    catalogs,
    histories_of,
    leaf_paths,
    prefix_log_probs,
)

CUBE = np.array(list(itertools.product(range(4), repeat=3)))
HEAD = CategoryTable()


def intent_of(model, history, path):
    """The distribution over categories of one prefix, computed node by node."""
    step, context = model.encode(history, capacity=len(path))
    for level, code in enumerate(path):
        step, context = model.extend(
            context,
            torch.tensor([[code]]),
            torch.tensor([[level]]),
            torch.tensor([[level + 1]]),
            is_node=torch.tensor([[True]]),
        )
    return HEAD.log_probs(step.hidden)[0, 0]


@settings(max_examples=25)
@given(
    catalogs(),
    st.integers(1, 4),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.05, 0.2, 0.69315]),
    st.integers(1, 3),
)
def test_it_chooses_as_plain_python_does(catalog, num_beams, more, threshold, every):
    ids, sizes = catalog
    trie, model, history = Trie.build(ids, sizes), PrefixTable(sizes), histories_of(5)
    policy = ReflectiveBeamSearch(
        category_head=HEAD,
        num_beams=num_beams,
        candidates=num_beams + more,
        threshold=threshold,
        every=every,
    )
    # Another user comes first, and must not matter.
    answer = policy.search(model, histories_of(2, 5), Scope(trie=trie))
    beams, tokens = [()], 1
    for depth in range(1, len(sizes) + 1):
        log_probs = prefix_log_probs(model, history, ids, depth)
        reached = [prefix for prefix in log_probs if prefix[:-1] in beams]
        likely = sorted(reached, key=lambda prefix: -log_probs[prefix])[: num_beams + more]
        if depth < len(sizes):
            tokens += len(likely)
        if depth < len(sizes) and depth % every == 0:
            moved = {
                path: float(
                    jensen_shannon(
                        intent_of(model, history, path[: depth - every]),
                        intent_of(model, history, path),
                    )
                )
                for path in likely
            }
            likely.sort(
                key=lambda path: (
                    (0, -log_probs[path]) if moved[path] <= threshold else (1, moved[path])
                )
            )
        beams = likely[:num_beams]
    assert leaf_paths(answer, trie, 1) == beams
    assert int(answer.spent.tokens[1]) == tokens == int(answer.tree.is_node[1].sum())


def test_nothing_is_inconsistent_from_log_2_on():
    trie, model = Trie.build(CUBE, (4, 4, 4)), PrefixTable((4, 4, 4))
    sharp = CategoryTable(sharpness=50.0)
    policy = ReflectiveBeamSearch(
        category_head=sharp, num_beams=3, candidates=9, threshold=math.log(2)
    )
    answer = policy.search(model, histories_of(1, 2), Scope(trie=trie))
    plain = BeamSearch(num_beams=3).search(model, histories_of(1, 2), Scope(trie=trie))
    assert answer.leaves.equal(plain.leaves)
    assert answer.log_probs.equal(plain.log_probs)
    other = ReflectiveBeamSearch(category_head=sharp, num_beams=3, candidates=9, threshold=0.3)
    assert not other.search(model, histories_of(1, 2), Scope(trie=trie)).leaves.equal(plain.leaves)


def test_every_path_that_is_shown_costs_a_token_and_a_question_to_the_head():
    trie, model = Trie.build(CUBE, (4, 4, 4)), CountedTable((4, 4, 4))
    policy = ReflectiveBeamSearch(category_head=HEAD, num_beams=2, candidates=4)
    spent = policy.search(model, histories_of(1, 2), Scope(trie=trie)).spent
    assert spent.tokens.tolist() == [9, 9]  # 1 + 2 · 4
    assert spent.flops.tolist() == [100 + 8 * 7 + 9 * 10] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1"),
        ({"num_beams": 5, "candidates": 4}, "candidates must be at least num_beams"),
        ({"threshold": -0.1}, "threshold must be 0 or more"),
        ({"every": 0}, "every must be at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ReflectiveBeamSearch(category_head=HEAD, **settings)
