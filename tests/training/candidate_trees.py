"""Candidate trees over a trie, as the rollouts of a search make them."""

from sidestep.training.candidate_tree import CandidateTree, with_targets
from sidestep.training.leaf_ways import prefix_ways


def tree_of(found, targets, trie) -> CandidateTree:
    """The tree of distinct leaves, and of the leaves of targets unless these are None."""
    leaves = found if targets is None else with_targets(found, targets)
    return CandidateTree.along(prefix_ways(leaves, trie), leaves, num_found=found.shape[1])
