"""The exhaustive search: what it takes, however the trie is cut into chunks."""

import itertools

import numpy as np
import pytest

from sidestep.catalog.trie import Trie
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.policy import Scope

from .fakes import CountedTable, PrefixTable, histories_of

SIZES = (3, 3, 3)
TRIE = Trie.build(np.array(list(itertools.product(range(3), repeat=3)))[::2], SIZES)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 1000])
def test_every_prefix_costs_once_in_chunks_of_any_size(chunk_size):
    policy = ExhaustiveSearch(chunk_size=chunk_size)
    answer = policy.search(CountedTable(SIZES), histories_of(5, 2), Scope(trie=TRIE))
    whole = ExhaustiveSearch().search(CountedTable(SIZES), histories_of(5, 2), Scope(trie=TRIE))
    inner = 3 + 9  # prefixes of one and of two codes
    assert answer.leaves.equal(whole.leaves)
    # A prefix of one code is shown again for every chunk that needs it, and paid for again.
    shown = answer.spent.tokens - 1
    assert (shown >= inner).all()
    assert (whole.spent.tokens - 1).tolist() == [inner, inner]
    assert answer.spent.flops.tolist() == (100 + 7 * shown).tolist()


def test_the_cost_is_not_known_where_the_model_tells_none():
    answer = ExhaustiveSearch(chunk_size=2).search(
        PrefixTable(SIZES), histories_of(5), Scope(trie=TRIE)
    )
    assert answer.spent.flops is None
