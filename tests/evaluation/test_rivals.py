import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.evaluation.rivals import Rivals, evenly_spread

TRIE = Trie.build(np.array(list(itertools.product(range(2), range(3)))), (2, 3))
LEAVES = TRIE.leaf_of(torch.arange(6))  # 00, 01, 02, 10, 11 and 12 are the states from 3 on


def test_rivals_by_hand():
    target, starts = LEAVES[[4]], torch.tensor([0.5], dtype=torch.float64)
    every = Rivals.of(target, starts, TRIE, None)
    assert every.spread is None
    assert every.siblings.tolist() == [[1, 2, 6, 7, 8]]
    assert every.states_with(torch.empty(1, 0, dtype=torch.long)).tolist() == [LEAVES.tolist()]
    two = Rivals.of(target, starts, TRIE, 2)
    assert two.spread.tolist() == [[1, 2, 4, 7]]  # leaves in steps of 3, from 1.5 on
    assert two.siblings.tolist() == [[1, 2, 6, 8]]
    assert set(two.states_with(torch.tensor([[5]]))[0].tolist()) == {1, 2, 4, 5, 6, 7, 8}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=4),
    st.integers(1, 40),
    st.floats(0, 0.999),
)
def test_a_spread_lies_within_and_names_nothing_twice(ranges, number, start):
    first = torch.tensor([low for low, _ in ranges])
    last = first + torch.tensor([count for _, count in ranges])
    starts = torch.full((len(ranges),), start, dtype=torch.float64)
    spread = evenly_spread(first, last, starts, number)
    for row, (low, count) in zip(spread.tolist(), ranges, strict=True):
        chosen = [state for state in row if state != NO_STATE]
        assert len(chosen) == min(number, count)
        assert len(set(chosen)) == len(chosen)
        assert all(low <= state < low + count for state in chosen)
        if chosen:
            assert max(np.diff(chosen), default=0) <= -(-count // min(number, count))
