"""Searches over spaces that are no tries: nothing in them assumes one where it need not."""

import math
from collections import defaultdict
from functools import partial

import pytest
import torch

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.padding import NO_ITEM
from sidestep.recommender import GenerativeRecommender
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.levels import Continuations, levels
from sidestep.search.proposals import Indifferent
from sidestep.search.reflective_beam import ReflectiveBeamSearch
from sidestep.search.sampling import Sampling
from sidestep.search.scorer import Guidance
from sidestep.search.tree import Tree
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.search.ved import ValueGuidedDecoding
from sidestep.step import StepOutput
from tests.catalog.space_contract import items_at, ways
from tests.catalog.test_space import EXCLUDED, SETS, TITLES

from .fakes import CategoryTable, ValueTable, histories_of


class SpaceTable(ValueTable):
    """Logits and a value that depend on the user's first item and on the set of actions taken."""

    def __init__(self, space):
        super().__init__(space.codebook_sizes)
        self.num_actions = space.num_actions

    def extend(self, context, codes, parents, depths, *, is_node, visible=None, depth=None):
        # A sum, so that it does not matter in which order actions are taken.
        taken = context.prefixes.gather(1, parents) + (codes + 1) ** 3 * 97
        prefixes = torch.cat([context.prefixes, taken], dim=1)
        return self._output(taken, depths), type(context)(prefixes)

    def _output(self, prefixes, depths):
        actions = torch.arange(self.num_actions)
        logits = torch.sin(prefixes[..., None] * 12.9898 + actions * 78.233) * 3
        return StepOutput(
            logits=logits.float(),
            hidden=prefixes[..., None].float(),
            value=torch.sin(prefixes * 4.17 + 1).float(),
        )


PARALLEL = SetSpace.of_codes(
    torch.tensor([[0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0]]), (2, 2, 2)
)
"""One code of each of three codebooks; items 0 and 3 are the same set."""

SPACES = {
    "parallel codes": PARALLEL,
    "sets": SETS,
    "titles": TITLES,
    "some sets": SETS.without(EXCLUDED),
}

each_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())


def best_ways(space, model, histories, user):
    """The log-probability of the likeliest way to each canonical complete state; plain Python."""
    num_users = len(histories.lengths)
    best = defaultdict(lambda: -math.inf)
    found = ways(space, user, num_users)
    for way, state in found.items():
        if not items_at(space, state, user, num_users):
            continue
        step, context = model.encode(histories, capacity=len(way))
        total = 0.0
        for depth, action in enumerate(way):
            above = torch.full((num_users, 1), found[way[:depth]])
            legal = space.legal(above)[user, 0]
            logits = step.logits[user, 0].masked_fill(~legal, -torch.inf)
            total += float(logits.log_softmax(dim=0)[action])
            here = torch.full((num_users, 1), depth)
            step, context = model.extend(
                context,
                torch.full((num_users, 1), action),
                here,
                here + 1,
                is_node=here >= 0,
            )
        meant = int(space.canonical(torch.full((num_users, 1), state))[user, 0])
        best[meant] = max(best[meant], total)
    return dict(best)


def answers(candidates, space, user):
    """Log-probabilities by canonical state; a state that stands there twice fails."""
    is_found = candidates.leaves[user] != NO_STATE
    states = space.canonical(candidates.leaves)[user][is_found].tolist()
    assert len(states) == len(set(states))
    return dict(zip(states, candidates.log_probs[user][is_found].tolist(), strict=True))


WIDE = {
    "beam": BeamSearch(num_beams=64),
    "guided-beam": GuidedBeamSearch(
        guidance=Guidance(scorer=Indifferent(), likelihood_weight=1.0), num_beams=64, candidates=64
    ),
    "value-beam": ValueBeamSearch(num_beams=64, candidates=64),
    "reflective-beam": ReflectiveBeamSearch(
        category_head=CategoryTable(), num_beams=64, candidates=64
    ),
    "sampling": Sampling(num_samples=64),
}


@each_space
@pytest.mark.parametrize("policy", WIDE.values(), ids=WIDE.keys())
def test_a_wide_search_finds_every_item_once_by_its_likeliest_way(policy, space):
    model, histories = SpaceTable(space), histories_of(4, 7)
    found = policy.search(model, histories, space)
    for user in range(2):
        expected = best_ways(space, model, histories, user)
        assert answers(found, space, user) == pytest.approx(expected, abs=1e-4)
        assert int(found.spent.tokens[user]) == int(found.tree.is_node[user].sum())


@pytest.mark.parametrize(
    ("policy", "shows_leaves"),
    [(WIDE["beam"], False), (WIDE["value-beam"], True)],
    ids=["beam", "value-beam"],
)
def test_a_title_that_is_complete_waits_without_a_token(policy, shows_leaves):
    found = policy.search(SpaceTable(TITLES), histories_of(4), TITLES)
    is_whole = [title in TITLES.titles for title in TITLES.ways]
    assert int(found.spent.tokens[0]) == len(is_whole) - (0 if shows_leaves else sum(is_whole))


class WatchedTable(SpaceTable):
    """Remembers the widths of the levels that it was shown."""

    def __init__(self, space):
        super().__init__(space)
        self.widths = []

    def extend(self, context, codes, *given, **more):
        self.widths.append(codes.shape[1])
        return super().extend(context, codes, *given, **more)


@pytest.mark.parametrize("beams", [3, 64])
def test_a_model_need_not_see_the_columns_of_states_that_wait(beams):
    histories, ends, widths = histories_of(4, 7), [], []
    for spares_waiting in (False, True):
        model = WatchedTable(TITLES)
        shown = list(
            levels(
                model,
                histories,
                TITLES,
                capacity=64,
                normaliser="legal",
                begin=lambda root, context: partial(Continuations.likeliest, number=beams),
                spares_waiting=spares_waiting,
            )
        )
        tree = Tree.joined([level.nodes for level in shown if level.step is not None])
        nodes = [
            sorted(row[is_node].tolist())
            for row, is_node in zip(tree.states, tree.is_node, strict=True)
        ]
        ends.append((shown[-1].kept.states.tolist(), nodes))
        widths.append(model.widths)
        below_root = tree.is_node & (tree.depths > 0)
        above = tree.depths.gather(1, tree.parents.masked_fill(~below_root, 0))
        assert (above == tree.depths - 1)[below_root].all()
    assert ends[0] == ends[1]
    assert all(narrow <= wide for narrow, wide in zip(widths[1], widths[0], strict=True))
    assert sum(widths[1]) < sum(widths[0])


def test_a_title_that_waits_keeps_its_value():
    """A wide value beam ranks each title by its own value, however early the title is complete."""
    model = SpaceTable(TITLES)
    found = WIDE["value-beam"].search(model, histories_of(4), TITLES)
    by_state = {
        int(state): float(score)
        for state, score, is_node in zip(
            found.tree.states[0], found.tree.scores[0], found.tree.is_node[0], strict=True
        )
        if is_node
    }
    leaves = found.leaves[0][found.leaves[0] != NO_STATE].tolist()
    assert len(leaves) > 2
    scores = found.scores[0][: len(leaves)].tolist()
    assert scores == pytest.approx([by_state[leaf] for leaf in leaves])


@each_space
def test_a_narrow_beam_returns_the_best_of_what_it_kept(space):
    model, histories = SpaceTable(space), histories_of(4, 7)
    found = BeamSearch(num_beams=2).search(model, histories, space)
    for user in range(2):
        own = answers(found, space, user)
        assert own
        assert list(own.values()) == sorted(own.values(), reverse=True)
        every = best_ways(space, model, histories, user)
        assert all(own[state] <= every[state] + 1e-5 for state in own)


@each_space
def test_a_recommender_returns_the_items_of_its_space_and_not_those_left_out(space):
    model, histories = SpaceTable(space), histories_of(4, 7)
    recommender = GenerativeRecommender(model, space, BeamSearch(num_beams=64), max_history=None)
    for excluded in (None, torch.tensor([[3], [0]])):
        answer = recommender.recommend(histories, 9, excluded=excluded)
        for user in range(2):
            every = {
                item
                for state in ways(space, user, 2).values()
                for item in items_at(space, state, user, 2)
            }
            if excluded is not None:
                every -= set(excluded[user].tolist())
            items = answer.items[user].tolist()
            assert sorted(item for item in items if item != NO_ITEM) == sorted(every)
        assert answer.evaluated is None  # prefixes are of a trie


def test_items_of_one_set_share_a_bucket():
    recommender = GenerativeRecommender(SpaceTable(SETS), SETS, BeamSearch(), max_history=None)
    leaf_of = recommender.leaf_of.tolist()
    assert leaf_of[0] == leaf_of[4]
    assert len(set(leaf_of)) == 5


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (ExhaustiveSearch(), "exhaustive needs the trie"),
        (ValueGuidedDecoding(budget=99, warm_width=2), "one way leads to each state"),
    ],
    ids=["exhaustive", "ved"],
)
def test_a_search_that_needs_more_than_a_space_says_so(policy, words):
    with pytest.raises(TypeError, match=words):
        policy.search(SpaceTable(SETS), histories_of(4), SETS)
