"""A code space of titles: words that follow each other, ended by an end word, of any length.

What free-length IDs will need, in small: few words may follow each other, and a title that ends
another one begins is an item of its own. States are the ways themselves, numbered.
"""

from dataclasses import dataclass

import torch

from sidestep.catalog.trie import NO_STATE
from sidestep.padding import NO_ITEM
from tests.catalog.code_sets import CodeSets

END = 0
"""The action that ends a title."""


@dataclass(frozen=True, kw_only=True)
class Titles(CodeSets):
    """The titles of a catalog; as `CodeSets`, but words have an order."""

    titles: tuple[tuple[int, ...], ...] = ()

    ways_meet = False
    ends_early = True

    @staticmethod
    def of(titles, num_words):
        """The space of titles in words from 1 to `num_words`."""
        whole = tuple((*title, END) for title in titles)
        ways = sorted({way[:length] for way in whole for length in range(len(way) + 1)})
        return Titles(codebook_sizes=(1 + num_words,), sets=(), titles=whole, ways=ways)

    @property
    def num_steps(self):
        return max(map(len, self.titles))

    @property
    def num_items(self):
        return len(self.titles)

    def _open(self, user):
        gone = self._gone(user)
        return [(item, own) for item, own in enumerate(self.titles) if item not in gone]

    def legal(self, states, step=None):
        def follows(user, way):
            own = [] if way is None else [title for _, title in self._open(user)]
            words = {t[len(way)] for t in own if t[: len(way)] == way and len(t) > len(way)}
            return [action in words for action in range(self.num_actions)]

        return torch.tensor(self._each(states, follows)).view(*states.shape, self.num_actions)

    def is_complete(self, states):
        complete = self._each(states, lambda _, way: way in self.titles)
        return torch.tensor(complete).view(states.shape)

    def items(self, states):
        def held(user, way):
            own = [item for item, title in self._open(user) if title == way]
            return own + [NO_ITEM] * (len(self.titles) - len(own))

        return torch.tensor(self._each(states, held)).view(*states.shape, len(self.titles))

    def state_of(self, items):
        found = [
            NO_STATE if item == NO_ITEM else self.ways.index(self.titles[item])
            for item in items.flatten().tolist()
        ]
        return torch.tensor(found).view(items.shape)

    def canonical(self, states):
        return states
