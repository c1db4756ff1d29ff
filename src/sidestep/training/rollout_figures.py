"""Figures of rollouts: what a line in the log says of what was found, and of the policy there."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.objectives.policy import entropy
from sidestep.objectives.value import shared_prefixes
from sidestep.step import ROOT_SLOT
from sidestep.training.candidate_tree import CandidateTree
from sidestep.training.rollouts import Group


@torch.no_grad()
def figures_of_group(
    group: Group, by_slot: Float[Tensor, "users slots codes"], num_levels: int
) -> dict[str, Float[Tensor, ""]]:
    """Means over groups, by name.

    reward, best_reward, reward_range: of a group. zero_advantage: share of groups from which
    nothing is learned. diversity: mean over pairs of candidates of the share of levels at which
    they have parted, in groups that have a pair. candidates: of a group. tokens: spent on a
    prompt. entropy_l: of code l at the nodes passed, in nats.

    Args:
        group: see there.
        by_slot: log-probabilities of the policy at the slots of its tree.
        num_levels: of the semantic IDs.
    """
    tree, is_member = group.tree, group.is_member
    counts = is_member.sum(dim=1).clamp(min=1)
    best = group.rewards.masked_fill(~is_member, -torch.inf).amax(dim=1)
    worst = group.rewards.masked_fill(~is_member, torch.inf).amin(dim=1)
    # Over ordered pairs of different candidates; the mean over levels of those still shared.
    shared = shared_prefixes(tree.states, is_member).float().mean(dim=1).sum(dim=(1, 2)) - counts
    pairs = counts * (counts - 1)
    apart = (1 - shared / pairs.clamp(min=1)) * (pairs > 0)
    figures = {
        "reward": (group.rewards.sum(dim=1) / counts).mean(),
        "best_reward": best.mean(),
        "reward_range": (best - worst).mean(),
        "zero_advantage": (~group.learns).float().mean(),
        "diversity": apart.sum() / (pairs > 0).sum().clamp(min=1),
        "candidates": counts.float().mean(),
        "tokens": group.tokens.float().mean(),
    }
    is_passed = passed_slots(tree, is_member)
    by_node = entropy(by_slot)
    for depth in range(num_levels):
        here = is_passed & (tree.slot_depths == depth)
        figures[f"entropy_{depth + 1}"] = (by_node * here).sum() / here.sum().clamp(min=1)
    return figures


@torch.no_grad()
def figures_of_targets(
    group: Group,
    targets: Int[Tensor, " users"],
    log_probs: Float[Tensor, "users candidates levels"],
) -> dict[str, Float[Tensor, ""]]:
    """Means over groups of what is known where the target is.

    found: share that holds the target. matched: steps that the best candidate shares with it.
    target_log_prob: of the target under the policy.

    Args:
        group: whose tree holds the target.
        targets: the leaves of the items that came next.
        log_probs: of every candidate's codes.
    """
    tree = group.tree
    is_own = tree.leaves == targets[:, None]
    own = tree.states.take_along_dim(is_own.byte().argmax(dim=1)[:, None, None], dim=1)
    on_way = (tree.states == own) & tree.is_step & group.is_member[..., None]
    of_targets = target_log_probs(tree, log_probs, targets)
    return {
        "found": (is_own & group.is_member).any(dim=1).float().mean(),
        "matched": on_way.any(dim=1).float().sum(dim=1).mean(),
        "target_log_prob": of_targets.sum(dim=1).mean(),
    }


def target_log_probs(
    tree: CandidateTree,
    log_probs: Float[Tensor, "users candidates levels"],
    leaves: Int[Tensor, " users"],
) -> Float[Tensor, "users levels"]:
    """Log-probabilities of the codes of a leaf that is in every user's tree."""
    at = (tree.leaves == leaves[:, None]).byte().argmax(dim=1)
    return log_probs[torch.arange(len(at), device=at.device), at]


def passed_slots(
    tree: CandidateTree, is_member: Bool[Tensor, "users candidates"]
) -> Bool[Tensor, "users slots"]:
    """The slots at which some candidate of the group chooses a code; the root in any case."""
    is_step = is_member[..., None] & tree.is_step
    slots = tree.parent_slots.masked_fill(~is_step, ROOT_SLOT).flatten(1)
    passed = torch.zeros_like(tree.slot_states, dtype=torch.bool)
    return passed.scatter_(1, slots, True)
