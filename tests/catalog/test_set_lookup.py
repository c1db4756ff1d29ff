import numpy as np
import pytest
import torch

from sidestep.catalog.posting_lists import PostingLists
from sidestep.catalog.set_candidates import LatestCandidates
from sidestep.catalog.set_lookup import SetLookup
from sidestep.catalog.trie import NO_STATE

CODES = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 1]], dtype=np.int32)
MASK = 2**32


# Few codes for four items give lists of pairs, many codes give none.
@pytest.mark.parametrize("size", [2, 9])
def test_sets_grow_to_those_that_items_have_and_tell_their_items(size):
    lists = PostingLists.build(CODES, (size,) * 3)
    assert (lists.first_pair is not None) == (size == 2)
    lookup = SetLookup(lists=lists, latest=LatestCandidates())
    # Actions: code c of codebook b is b · size + c.
    states, numbers = lookup.grown(torch.tensor([0, 0, 0, NO_STATE]), torch.tensor([0, 1, -1, 0]))
    assert states.tolist() == [MASK, MASK + 2, NO_STATE, NO_STATE]
    assert numbers.tolist() == [3, 1, 0, 0]
    # The codebook is decided; no item; items 1 and 3; item 2.
    more = torch.tensor([1, size, size + 1, size + 1])
    states, numbers = lookup.grown(states[[0, 1, 0, 1]], more)
    assert states.tolist() == [NO_STATE, NO_STATE, 3 * MASK + 1, 3 * MASK + 2]
    assert numbers.tolist() == [0, 0, 2, 1]
    states, numbers = lookup.grown(states[[2, 3]], torch.tensor([2 * size + 1, 2 * size + 1]))
    assert (states.tolist(), numbers.tolist()) == ([7 * MASK + 3, NO_STATE], [1, 0])
    # Kept candidates answer as lists do.
    asked = torch.tensor([3 * MASK + 1, MASK, 3 * MASK + 2])
    for latest in (lookup.latest, LatestCandidates()):
        items, rows = SetLookup(lists=lists, latest=latest).items_of(asked)
        found = [items[rows == row].tolist() for row in range(3)]
        assert found == [[1, 3], [0, 1, 3], [2]]
