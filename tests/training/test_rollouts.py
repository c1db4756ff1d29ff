"""Rollouts: the candidates of a search, and the treatment of a target that the search missed."""

import math

import pytest
import torch

from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.training.leaf_ways import TrieWays
from sidestep.training.rewards import Rewards, RewardSources, RewardTerm
from sidestep.training.rollouts import Rollouts

from .test_alignment import BATCH, LEAVES, TRIE, a_policy


def test_a_target_that_joins_ranks_last_in_the_rank_penalty():
    """The two found candidates pay as ranks 0 and 1 of three; the search missed the target."""
    policy = a_policy().eval()
    users, positions = BATCH.is_target.nonzero(as_tuple=True)
    histories = BATCH.before(users, positions)
    search = BeamSearch(num_beams=2)
    found = search.search(policy, histories, Scope(trie=TRIE)).leaves
    # An item that each user's search misses.
    missed = [next(i for i in range(6) if int(LEAVES[i]) not in own) for own in found.tolist()]
    rollouts = Rollouts(
        search=search,
        reward=Rewards((RewardTerm(reward="rank"),), RewardSources()),
        repair="target",
        knows_targets=True,
        head=None,
    )
    group = rollouts(
        policy, histories, torch.tensor(missed)[:, None], TrieWays(space=Scope(trie=TRIE)), step=0
    )
    assert group.is_member.all()
    discounts = [1 / math.log2(rank + 2) for rank in range(3)]
    paid = [-discount / sum(discounts) for discount in discounts[:2]]
    for user in range(len(users)):
        assert group.tree.leaves[user, -1] == LEAVES[missed[user]]
        assert group.rewards[user].tolist() == pytest.approx([*paid, 0.0])
