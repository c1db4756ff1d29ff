"""Figures of rollouts, by hand."""

import math

import pytest
import torch

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.training.rollout_figures import figures_of_group, figures_of_targets
from sidestep.training.rollouts import Group
from tests.training.candidate_trees import tree_of

IDS = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
TRIE = Trie.build(IDS, (2, 2))
LEAVES = TRIE.leaf_of(torch.arange(4))


def a_group(rows, targets, rewards) -> Group:
    """Groups of items; -1 is padding."""
    found = torch.tensor([[NO_STATE if i < 0 else int(LEAVES[i]) for i in row] for row in rows])
    tree = tree_of(found, LEAVES[targets], TRIE)
    given = torch.zeros(tree.leaves.shape)
    given[:, : found.shape[1]] = torch.tensor(rewards)
    return Group(
        tree=tree,
        is_on_path=torch.zeros_like(tree.is_step),
        is_member=tree.is_found,
        log_probs=torch.zeros(tree.leaves.shape),
        rewards=given,
        first_free=torch.zeros(len(rows), dtype=torch.long),
        old_log_probs=None,
        tokens=torch.tensor([5, 7]),
    )


def test_two_groups():
    """The group of items 0, 1, 2 holds its target and has different rewards.

    The group of items 2, 3 has neither.
    """
    group = a_group([[0, 1, 2], [2, 3, -1]], [1, 0], [[0.0, 1.0, 0.5], [0.2, 0.2, 0.0]])
    legal = TRIE.legal(group.tree.slot_states)
    logits = torch.zeros(legal.shape).masked_fill(~legal, -torch.inf)
    is_empty = ~legal.any(dim=-1, keepdim=True)
    by_slot = logits.masked_fill(is_empty, 0.0).log_softmax(-1).masked_fill(is_empty, -torch.inf)
    figures = {name: float(value) for name, value in figures_of_group(group, by_slot, 2).items()}
    assert figures["reward"] == pytest.approx((0.5 + 0.2) / 2)
    assert figures["best_reward"] == pytest.approx((1.0 + 0.2) / 2)
    assert figures["reward_range"] == pytest.approx((1.0 + 0.0) / 2)
    assert figures["zero_advantage"] == 0.5
    # One of three pairs shares the first of two codes; so does the only pair of the other group.
    assert figures["diversity"] == pytest.approx((1 - 1 / 6 + 1 - 1 / 2) / 2)
    assert figures["tokens"] == 6
    # At every node, two codes are equally likely.
    assert figures["entropy_1"] == figures["entropy_2"] == pytest.approx(math.log(2))
    log_probs = group.tree.code_log_probs(by_slot)
    told = figures_of_targets(group, LEAVES[[1, 0]], log_probs)
    assert float(told["found"]) == 0.5
    assert float(told["matched"]) == (2 + 0) / 2
    assert float(told["target_log_prob"]) == pytest.approx(-2 * math.log(2))
