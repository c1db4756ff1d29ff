"""A code space that is no trie: items are unordered sets of codes of different codebooks.

What parallel codes will need, in small: an action is a code of some codebook; the codes of a set
may be chosen in any order; so several states mean the same set, and an item has fewer codes than
there are codebooks. States are the ways themselves, numbered.
"""

import itertools
from dataclasses import dataclass, field, replace

import torch

from sidestep.catalog.trie import NO_CODE, NO_STATE
from sidestep.padding import NO_ITEM


@dataclass(frozen=True, kw_only=True)
class CodeSets:
    """The sets of a catalog.

    sets: per item the actions that it consists of; all of one size.
    excluded: per user the items that are not there, or one row for all users; None: all may get
        all.
    """

    codebook_sizes: tuple[int, ...]
    sets: tuple[frozenset[int], ...]
    excluded: tuple[frozenset[int], ...] | None = None
    ways: list[tuple[int, ...]] = field(default_factory=list)

    ways_meet = True
    ends_early = False
    device = torch.device("cpu")

    @staticmethod
    def of(items, codebook_sizes):
        """The space of items that are dictionaries: codebook to code."""
        starts = [0, *itertools.accumulate(codebook_sizes)]
        sets = tuple(frozenset(starts[b] + code for b, code in item.items()) for item in items)
        ways = {
            way for s in sets for n in range(len(s) + 1) for way in itertools.permutations(s, n)
        }
        return CodeSets(codebook_sizes=codebook_sizes, sets=sets, ways=sorted(ways))

    @property
    def num_steps(self):
        return len(self.sets[0])

    @property
    def num_actions(self):
        return sum(self.codebook_sizes)

    @property
    def num_states(self):
        return len(self.ways)

    @property
    def num_items(self):
        return len(self.sets)

    def _gone(self, user):
        if self.excluded is None:
            return frozenset()
        return self.excluded[user if len(self.excluded) > 1 else 0]

    def _open(self, user):
        gone = self._gone(user)
        return [(item, own) for item, own in enumerate(self.sets) if item not in gone]

    def _each(self, states, answer):
        """Answers of `answer(user, way)` for each user and state; the way is None at `NO_STATE`."""
        return [
            [answer(user, None if state == NO_STATE else self.ways[state]) for state in row]
            for user, row in enumerate(states.tolist())
        ]

    def root(self, num_users):
        return torch.full((num_users, 1), self.ways.index(()))

    def legal(self, states, step=None):
        def follows(user, way):
            codes = set()
            if way is not None:
                codes = {a for _, own in self._open(user) if own >= set(way) for a in own}
                codes -= set(way)
            return [action in codes for action in range(self.num_actions)]

        return torch.tensor(self._each(states, follows)).view(*states.shape, self.num_actions)

    def child(self, states, actions, step=None):
        numbers = {way: number for number, way in enumerate(self.ways)}
        children = [
            [
                NO_STATE
                if state == NO_STATE
                else numbers.get((*self.ways[state], action), NO_STATE)
                for state, action in zip(*row, strict=True)
            ]
            for row in zip(states.tolist(), actions.tolist(), strict=True)
        ]
        return torch.tensor(children).view(states.shape)

    def children(self, states, step=None):
        legal = self.legal(states, step)
        most = int(legal.sum(dim=2).max())
        actions = (~legal).byte().argsort(dim=2, stable=True)[..., :most]
        above = states[..., None].expand(actions.shape)
        children = self.child(above.flatten(1), actions.flatten(1)).view(actions.shape)
        is_child = legal.gather(2, actions)
        return actions.masked_fill(~is_child, NO_CODE), children.masked_fill(~is_child, NO_STATE)

    def is_complete(self, states):
        complete = self._each(states, lambda _, way: way is not None and set(way) in self.sets)
        return torch.tensor(complete).view(states.shape)

    def items(self, states):
        def held(user, way):
            own = [
                item for item, codes in self._open(user) if way is not None and codes == set(way)
            ]
            return own + [NO_ITEM] * (len(self.sets) - len(own))

        return torch.tensor(self._each(states, held)).view(*states.shape, len(self.sets))

    def state_of(self, items):
        numbers = {way: number for number, way in enumerate(self.ways)}
        found = [
            NO_STATE if item == NO_ITEM else numbers[tuple(sorted(self.sets[item]))]
            for item in items.flatten().tolist()
        ]
        return torch.tensor(found).view(items.shape)

    def canonical(self, states):
        numbers = {way: number for number, way in enumerate(self.ways)}
        meant = self._each(
            states, lambda _, way: NO_STATE if way is None else numbers[tuple(sorted(way))]
        )
        return torch.tensor(meant).view(states.shape)

    def among(self, is_available):
        return self._excluding([frozenset((~is_available).nonzero()[:, 0].tolist())])

    def without(self, items):
        return self._excluding([frozenset(row) for row in items.tolist()])

    def _excluding(self, gone):
        """Without the items of each user, or those of one row for all users."""
        before = self.excluded or (frozenset(),)
        rows = max(len(gone), len(before))
        pairs = zip(gone * (rows // len(gone)), before * (rows // len(before)), strict=True)
        return replace(self, excluded=tuple(own | other for own, other in pairs))
