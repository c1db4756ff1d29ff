"""Choice trees: what a pass over all prefixes says, said by a pass over the choices alone."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.catalog.trie import NO_STATE
from sidestep.training.choice_tree import ChoiceTree
from tests.training.candidate_trees import tree_of

from .test_candidate_tree import HISTORIES, LEAVES, TRIE, a_network, chosen


def test_choices_by_hand():
    """The IDs 001, 002, 010, 100, 121 and twice 211; 2, 21 and 10 leave nothing to choose."""
    tree = ChoiceTree.above(LEAVES[[0, 2, 3, 5]][None], TRIE)
    assert TRIE.path(tree.states)[0].tolist() == [[0, -1, -1], [1, -1, -1], [0, 0, -1]]
    assert tree.codes.tolist() == [[0, 1, 0]]
    assert tree.parents.tolist() == [[0, 0, 1]]
    assert tree.depths.tolist() == [[1, 1, 2]]


def test_what_is_left_out_is_no_node_nor_is_what_lies_below():
    first = TRIE.child(torch.tensor([[0]]), torch.tensor([[0]]))
    tree = ChoiceTree.above(
        LEAVES[None],
        TRIE,
        is_left_out=lambda states: TRIE.ancestor(states, 1) == first,
    )
    assert [path[0] for path in TRIE.path(tree.states)[0].tolist()] == [1]
    assert tree.parents.tolist() == [[0]]


def test_a_user_without_a_leaf_has_the_root_alone():
    leaves = torch.stack([LEAVES[:2], torch.full((2,), NO_STATE)])
    tree = ChoiceTree.above(leaves, TRIE)
    assert tree.slot_states[1].tolist() == [0, NO_STATE, NO_STATE]
    assert ChoiceTree.above(leaves[1:], TRIE).slot_states.tolist() == [[0]]


@given(st.integers(0, 1000))
@settings(max_examples=15)
def test_choices_are_as_likely_as_in_the_tree_of_all_prefixes(seed):
    network, leaves = a_network(), chosen(seed)
    whole, tree = tree_of(leaves, None, TRIE), ChoiceTree.above(leaves, TRIE)
    of_whole = whole.node_log_probs(whole.read(network, HISTORIES), TRIE.legal(whole.slot_states))
    of_choices = tree.node_log_probs(tree.read(network, HISTORIES), TRIE)
    for user in range(len(leaves)):
        states = whole.slot_states[user].tolist()
        found = {s: of_whole[user, slot] for slot, s in enumerate(states) if s != NO_STATE}
        choices = [s for s in tree.slot_states[user].tolist() if s != NO_STATE]
        assert len(choices) == len(set(choices))
        assert set(choices) <= set(found)
        for slot, state in enumerate(choices):
            torch.testing.assert_close(of_choices[user, slot], found[state])
        for state in set(found) - set(choices):  # whatever follows there is certain
            assert found[state].exp().max() in (0.0, 1.0)
