"""Code spaces that are no tries keep the laws, too: sets of codes, and titles of any length."""

import torch

from sidestep.padding import NO_ITEM
from tests.catalog.code_sets import CodeSets
from tests.catalog.space_contract import CodeSpaceContract
from tests.catalog.titles import Titles

SETS = CodeSets.of(
    # Codes of two of three codebooks each; items 0 and 4 are the same set.
    [{0: 0, 1: 1}, {0: 0, 2: 2}, {1: 1, 2: 2}, {0: 1, 1: 0}, {0: 0, 1: 1}, {1: 0, 2: 0}],
    (2, 2, 3),
)

TITLES = Titles.of([(1,), (1, 2), (2, 2, 1), (3,), (1, 3)], 3)


EXCLUDED = torch.tensor([[0, NO_ITEM, NO_ITEM], [1, 2, 4]])
"""Of two users."""


class TestSets(CodeSpaceContract):
    @staticmethod
    def cases():
        return [
            (SETS, [set(range(6)), set(range(6))]),
            (SETS.without(EXCLUDED), [{1, 2, 3, 4, 5}, {0, 3, 5}]),
        ]


class TestTitles(CodeSpaceContract):
    @staticmethod
    def cases():
        return [
            (TITLES, [set(range(5)), set(range(5))]),
            (TITLES.without(EXCLUDED), [{1, 2, 3, 4}, {0, 3}]),
        ]
