"""Grounding: the written item first, then the nearest ones."""

import itertools

import numpy as np
import torch

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.padding import NO_ITEM
from sidestep.search.beam import BeamSearch
from sidestep.search.exclusion import Exclusion
from sidestep.search.grounded import GroundedSearch
from sidestep.search.policy import Scope

from .fakes import ValueTable, histories_of

IDS = np.array([*itertools.product(range(3), repeat=3)])
TRIE, MODEL = Trie.build(IDS, (3, 3, 3)), ValueTable((3, 3, 3))


class OnALine:
    """Item i lies at i."""

    def catalog_vectors(self):
        return torch.arange(27.0)[:, None]


def test_the_written_item_comes_first_and_the_nearest_ones_follow():
    histories = histories_of(4, 7, 2)
    found = GroundedSearch(vectors=OnALine(), num_leaves=5).search(
        MODEL, histories, Scope(trie=TRIE)
    )
    written = BeamSearch(num_beams=50).search(MODEL, histories, Scope(trie=TRIE))
    for user, leaves in enumerate(TRIE.items(found.leaves)[:, :, 0].tolist()):
        [first] = TRIE.items(written.leaves[user : user + 1, :1])[0, 0].tolist()
        assert leaves[0] == first
        by_distance = sorted(abs(item - first) for item in range(27))[:5]
        assert [abs(item - first) for item in leaves] == by_distance
        assert found.scores[user].tolist() == [-distance for distance in by_distance]
    assert found.spent.tokens.tolist() == (written.spent.tokens + 1).tolist()


def test_items_out_of_scope_are_neither_written_nor_ranked():
    is_available = torch.arange(27) % 2 > 0
    available = TRIE.availability(is_available)
    unwanted = torch.tensor([[1, 3, NO_ITEM], [5, 25, 7]])
    scope = Scope(trie=TRIE, available=available, excluded=Exclusion.of(unwanted, TRIE, available))
    found = GroundedSearch(vectors=OnALine(), num_leaves=27).search(
        MODEL, histories_of(4, 7), scope
    )
    for user, leaves in enumerate(found.leaves):
        items = TRIE.items(leaves[leaves != NO_STATE][None])[0, :, 0].tolist()
        allowed = set(range(1, 27, 2)) - set(unwanted[user].tolist())
        assert set(items) == allowed
        assert found.scores[user, len(items) :].isneginf().all()


def test_items_that_share_codes_do_not_push_the_written_one_down():
    ids = np.concatenate([IDS, np.repeat(IDS[:1], 20, axis=0), IDS[5:6]])
    trie = Trie.build(ids, (3, 3, 3))

    class Line:
        def catalog_vectors(self):
            return torch.tensor([*range(27), *[0] * 20, 5], dtype=torch.float32)[:, None] / 1000 + 8

    for number in range(27):  # histories of one item
        found = GroundedSearch(vectors=Line(), num_leaves=27).search(
            MODEL, histories_of(number), Scope(trie=trie)
        )
        written = BeamSearch().search(MODEL, histories_of(number), Scope(trie=trie))
        assert found.leaves[0, 0] == written.leaves[0, 0]
        assert found.scores[0, 0] == 0
        assert (found.scores[0].diff() <= 0).all()
        assert len(set(found.leaves[0].tolist())) == 27
        assert (found.scores[0, 1:] < 0).all()
