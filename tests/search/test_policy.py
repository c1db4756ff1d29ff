"""Parts that all searches share, and the laws of the scope of a trie."""

import numpy as np
import pytest
import torch

from sidestep.catalog import dense_rows
from sidestep.catalog.trie import Trie
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.exclusion import Exclusion
from sidestep.search.policy import Scope, redrawn, trie_scope
from sidestep.search.sampling import Sampling
from tests.catalog.space_contract import CodeSpaceContract
from tests.catalog.test_space import SETS


def test_what_draws_draws_anew_at_every_step():
    assert redrawn(Sampling(num_samples=3, seed=5), 2) == Sampling(num_samples=3, seed=7)


def test_what_draws_nothing_stays_itself():
    class Own:
        """A user's own search, which is no dataclass."""

        name, seed = "own", 3

        def search(self, model, histories, scope):
            raise NotImplementedError

    beam, own = BeamSearch(num_beams=3), Own()
    assert redrawn(beam, 2) is beam
    assert redrawn(own, 2) is own


IDS = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 0], [1, 0, 0], [1, 2, 1], [2, 2, 2], [0, 0, 1]])
"""Of seven items, the first two of which share a leaf."""


class TestScope(CodeSpaceContract):
    @pytest.fixture(autouse=True, params=[2**26, 12, 0], ids=["dense", "a dense root", "sparse"])
    def rows(self, request, monkeypatch):
        monkeypatch.setattr(dense_rows, "_MAX_BYTES", request.param)

    @staticmethod
    def cases():
        trie = Trie.build(IDS, (3, 3, 3))
        in_stock = trie.availability(torch.tensor([True, False, True, True, True, False, True]))
        gone = torch.tensor([[0, 3, NO_ITEM], [2, 4, 6]])
        excluded = Exclusion.of(gone, trie, in_stock)
        below = trie.ancestor(trie.leaf_of(torch.tensor([2, 3])), 1)
        everything = set(range(7))
        return [
            (Scope(trie=trie), [everything, everything]),
            (Scope(trie=trie, available=in_stock), [{0, 2, 3, 4, 6}] * 2),
            (Scope(trie=trie, available=in_stock, excluded=excluded), [{2, 4, 6}, {0, 3}]),
            (Scope(trie=trie, below=below), [{0, 1, 2, 6}, {3, 4}]),
        ]


def test_who_needs_a_trie_says_so():
    scope = Scope(trie=Trie.build(IDS, (3, 3, 3)))
    assert trie_scope(scope, asker="exhaustive") is scope
    with pytest.raises(TypeError, match="exhaustive needs the trie of a catalog"):
        trie_scope(SETS, asker="exhaustive")
