import itertools

import numpy as np
import torch

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.search.beam import BeamSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.policy import Scope
from sidestep.search.proposals import plain_beam, watched
from sidestep.search.scorer import Guidance
from sidestep.search.value_beam import ValueBeamSearch

from .fakes import CountedTable, ValueTable, histories_of
from .test_every_policy import each_policy, guided
from .test_guided_beam import CountedStateTable

IDS = np.array(list(itertools.product(range(3), repeat=3)))
SCOPE = Scope(trie=Trie.build(IDS, (3, 3, 3)))
MODEL = ValueTable((3, 3, 3))


def states_of(states):
    return set(states.tolist()) - {NO_STATE}


@each_policy
def test_watching_changes_no_answer_and_what_is_kept_was_looked_at(policy_for):
    policy = policy_for(len(IDS))
    alone = policy.search(MODEL, histories_of(4, 7), SCOPE)
    seen = watched(policy, MODEL, histories_of(4, 7), SCOPE)
    assert seen.candidates.leaves.equal(alone.leaves)
    assert seen.candidates.scores.equal(alone.scores)
    assert seen.candidates.score_kind == alone.score_kind
    assert seen.candidates.spent.tokens.equal(alone.spent.tokens)
    assert seen.candidates.spent.scored.equal(alone.spent.scored)
    for user in range(2):
        kept, proposed = states_of(seen.kept[user]), states_of(seen.proposed[user])
        assert kept <= proposed
        leaves = {state for state in kept if state >= SCOPE.trie.first_leaf}
        assert leaves == states_of(alone.leaves[user])
        above = {int(SCOPE.trie.parent(torch.tensor(state))) for state in kept}
        assert above - {0} <= proposed


def test_the_plain_beam_is_the_beam_and_its_proposals_are_the_likeliest():
    plain = plain_beam(num_beams=3, candidates=7)
    seen = watched(plain, MODEL, histories_of(4), SCOPE)
    beam = BeamSearch(num_beams=3).search(MODEL, histories_of(4), SCOPE)
    assert seen.candidates.leaves.equal(beam.leaves)
    assert seen.candidates.score_kind == beam.score_kind
    torch.testing.assert_close(seen.candidates.scores, beam.scores)
    wide = BeamSearch(num_beams=7).search(MODEL, histories_of(4), SCOPE)
    first = wide.tree.states[0, wide.tree.depths[0] == 1]
    depth = SCOPE.trie.depth(seen.proposed[0])
    assert states_of(seen.proposed[0][depth == 1]) == states_of(first)
    assert len(states_of(seen.proposed[0][depth == 2])) == 7


def test_watching_changes_no_costs():
    model, histories = CountedTable((3, 3, 3)), histories_of(4, 7)
    guidance = Guidance(scorer=CountedStateTable())
    policy = GuidedBeamSearch(guidance=guidance, num_beams=3, candidates=7)
    alone = policy.search(model, histories, SCOPE)
    seen = watched(policy, model, histories, SCOPE).candidates
    assert seen.spent.flops.equal(alone.spent.flops)
    beam = BeamSearch(num_beams=3).search(model, histories, SCOPE)
    seen = watched(plain_beam(num_beams=3, candidates=7), model, histories, SCOPE).candidates
    assert seen.spent.scored.tolist() == [0, 0]
    assert seen.spent.flops.tolist() == beam.spent.flops.tolist()


def test_a_level_without_scores_proposes_what_it_keeps():
    guidance = guided(len(IDS)).guidance
    policy = GuidedBeamSearch(guidance=guidance, num_beams=2, candidates=(None, 6, None))
    seen = watched(policy, MODEL, histories_of(4), SCOPE)
    depth = SCOPE.trie.depth(seen.proposed[0])
    counts = [len(states_of(seen.proposed[0][depth == level])) for level in (1, 2, 3)]
    assert counts == [2, 6, 2]


def test_a_value_beam_looks_at_more_than_it_keeps():
    seen = watched(ValueBeamSearch(num_beams=2, candidates=5), MODEL, histories_of(4), SCOPE)
    for name, expected in (("proposed", [3, 5, 5]), ("kept", [2, 2, 2])):
        states = getattr(seen, name)[0]
        depth = SCOPE.trie.depth(states)
        counts = [len(states_of(states[depth == level])) for level in (1, 2, 3)]
        assert counts == expected
