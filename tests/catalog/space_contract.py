"""The laws that every code space must pass: `CodeSpaceContract`, which a test class inherits.

A subclass gives a space and the items that each of its users may get. Everything else follows from
walks: whoever goes all legal ways finds each of these items and no other one.
"""

from collections import defaultdict

import pytest
import torch

from sidestep.catalog.space import CodeSpace
from sidestep.catalog.trie import NO_CODE, NO_STATE
from sidestep.padding import NO_ITEM


def ways(space, user, num_users):
    """Every state that a user reaches by legal actions, with the actions to it; plain Python."""
    found = {(): int(space.root(num_users)[user, 0])}
    latest = dict(found)
    for _ in range(space.num_steps):
        longer = {}
        for way, state in latest.items():
            states = torch.full((num_users, 1), state)
            for action in space.legal(states)[user, 0].nonzero()[:, 0].tolist():
                actions = torch.full((num_users, 1), action)
                longer[(*way, action)] = int(space.child(states, actions)[user, 0])
        found |= longer
        latest = longer
    return found


def items_at(space, state, user, num_users):
    items = space.items(torch.full((num_users, 1), state))[user, 0].tolist()
    return [item for item in items if item != NO_ITEM]


class CodeSpaceContract:
    """Inherit, and define `cases`: pairs of a space and, per user, the set of items in scope."""

    @staticmethod
    def cases():
        raise NotImplementedError

    @pytest.fixture
    def walked(self):
        """The ways of every user, in every case."""
        return [
            (space, user, allowed, len(users), ways(space, user, len(users)))
            for space, users in self.cases()
            for user, allowed in enumerate(users)
        ]

    def test_a_space_says_what_it_is(self):
        for space, _ in self.cases():
            assert isinstance(space, CodeSpace)
            assert space.num_steps >= 1
            assert space.num_states >= 2
            assert all(size >= 1 for size in space.codebook_sizes)

    def test_all_legal_ways_lead_to_the_items_in_scope_and_to_no_other(self, walked):
        for space, user, allowed, num_users, found in walked:
            reached = set()
            for state in found.values():
                reached |= set(items_at(space, state, user, num_users))
            assert reached == set(allowed)

    def test_no_legal_way_is_dead_and_complete_states_end_it(self, walked):
        for space, user, allowed, num_users, found in walked:
            goes_on = {way[:-1] for way in found if way}
            for way, state in found.items():
                if way == () and not allowed:
                    continue  # nothing may be returned
                states = torch.full((num_users, 1), state)
                assert state != NO_STATE
                is_complete = bool(space.is_complete(states)[user, 0])
                assert is_complete != (way in goes_on)
                assert bool(items_at(space, state, user, num_users)) == is_complete
                assert is_complete or len(way) < space.num_steps

    def test_ways_end_early_or_meet_only_where_the_space_says_so(self, walked):
        for space, user, _, num_users, found in walked:
            meanings = defaultdict(set)
            for way, state in found.items():
                states = torch.full((num_users, 1), state)
                meanings[int(space.canonical(states)[user, 0])].add(way)
                if space.is_complete(states)[user, 0] and not space.ends_early:
                    assert len(way) == space.num_steps
            assert space.ways_meet or all(len(ways) == 1 for ways in meanings.values())

    def test_states_that_mean_the_same_have_the_same_items_and_ways_on(self, walked):
        for space, user, _, num_users, found in walked:
            for state in found.values():
                states = torch.full((num_users, 1), state)
                meant = space.canonical(states)
                assert torch.equal(space.canonical(meant), meant)
                assert torch.equal(space.legal(meant)[user], space.legal(states)[user])
                assert torch.equal(space.items(meant)[user], space.items(states)[user])
                assert space.ways_meet or torch.equal(meant, states)

    def test_children_are_the_legal_actions_and_where_they_lead(self, walked):
        for space, user, _, num_users, found in walked:
            states = torch.tensor([list(found.values())] * num_users)
            actions, children = space.children(states)
            legal = space.legal(states)
            assert legal.shape[2] == space.num_actions
            for column in range(states.shape[1]):
                own = actions[user, column]
                expected = legal[user, column].nonzero()[:, 0].tolist()
                assert own[: len(expected)].tolist() == expected
                assert (own[len(expected) :] == NO_CODE).all()
                assert (children[user, column, len(expected) :] == NO_STATE).all()
                for action, child in zip(expected, children[user, column].tolist(), strict=False):
                    same = torch.full((num_users, 1), action)
                    at = states[:, column : column + 1]
                    assert int(space.child(at, same)[user, 0]) == child

    def test_whoever_names_the_step_gets_the_same_answers(self, walked):
        for space, _, _, num_users, found in walked:
            for step in range(space.num_steps):
                here = [state for way, state in found.items() if len(way) == step]
                states = torch.tensor([[*here, NO_STATE, *here]] * num_users)
                assert torch.equal(space.legal(states, step), space.legal(states))
                for named, found_out in zip(
                    space.children(states, step), space.children(states), strict=True
                ):
                    assert torch.equal(named, found_out)
                for action in range(space.num_actions):
                    actions = torch.full_like(states, action)
                    named = space.child(states, actions, step)
                    assert torch.equal(named, space.child(states, actions))

    def test_nothing_follows_where_there_is_no_state(self, walked):
        for space, _, _, num_users, _ in walked:
            nowhere = torch.full((num_users, 1), NO_STATE)
            assert not space.legal(nowhere).any()
            assert not space.is_complete(nowhere).any()
            assert (space.items(nowhere) == NO_ITEM).all()
            assert torch.equal(space.canonical(nowhere), nowhere)
            assert (space.child(nowhere, torch.zeros_like(nowhere)) == NO_STATE).all()
            assert (space.children(nowhere)[1] == NO_STATE).all()

    def test_every_item_has_a_state_of_its_own_or_of_its_bucket(self, walked):
        for space, user, allowed, num_users, _ in walked:
            items = torch.tensor([[NO_ITEM, *range(space.num_items)]] * num_users)
            states = space.state_of(items)
            assert (states[:, 0] == NO_STATE).all()
            assert torch.equal(space.canonical(states), states)
            for item, state in enumerate(states[user, 1:].tolist()):
                own = items_at(space, state, user, num_users)
                assert (item in own) == (item in allowed)
                assert set(own) <= set(allowed)

    def test_a_space_among_some_items_has_those_of_them_that_it_had(self):
        for space, users in self.cases():
            for kept in (range(0, space.num_items, 2), [space.num_items - 1]):
                is_available = torch.zeros(space.num_items, dtype=torch.bool)
                is_available[list(kept)] = True
                some = space.among(is_available)
                for user, allowed in enumerate(users):
                    reached = set()
                    for state in ways(some, user, len(users)).values():
                        reached |= set(items_at(some, state, user, len(users)))
                    assert reached == set(allowed) & set(kept)

    def test_a_space_without_some_items_is_that_of_the_others(self):
        for space, users in self.cases():
            gone = [sorted(allowed)[user % 2 :: 2] for user, allowed in enumerate(users)]
            width = 1 + max(map(len, gone))
            padded = [row + [NO_ITEM] * (width - len(row)) for row in gone]
            rest = space.without(torch.tensor(padded))
            for user, allowed in enumerate(users):
                reached = set()
                for state in ways(rest, user, len(users)).values():
                    reached |= set(items_at(rest, state, user, len(users)))
                assert reached == set(allowed) - set(gone[user])
