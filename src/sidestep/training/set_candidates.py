"""Candidate sets over sets of codes: every candidate with the sets on its way.

See `candidate_tree` for codes in an order.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.step import HistoryBatch
from sidestep.training.candidate_tree import CandidateTree, with_targets
from sidestep.training.leaf_ways import Ways, chosen_ways


def set_candidate_tree(
    model: CodeSetTransformer,
    histories: HistoryBatch,
    found: Int[Tensor, "users found"],
    targets: Int[Tensor, " users"],
    space: SetSpace,
    *,
    include_target: bool,
) -> tuple[CandidateTree, Bool[Tensor, "users candidates levels"]]:
    """The tree of what a search found, along the ways that the network takes, with all codes.

    Candidates that share a set on their ways share it as a prefix.

    Args:
        model: chooses the codebooks; without dropout.
        histories: of the users.
        found: distinct complete sets of each user; `NO_STATE` is padding.
        targets: the items that came next.
        space: of all sets, whose ways are not shortened.
        include_target: whether the set of the target is to be there, found or not.

    Returns:
        The tree, and a mask of the sets that are on the way to the target.
    """
    right = space.state_of(targets)
    leaves = with_targets(found, right) if include_target else found
    items = torch.cat([space.items(leaves)[..., 0], targets[:, None]], dim=1)
    ways = chosen_ways(model, histories, items, space)
    to_target = ways.states[:, -1:]
    of_leaves = Ways(
        states=ways.states[:, :-1], actions=ways.actions[:, :-1], is_step=ways.is_step[:, :-1]
    )
    tree = CandidateTree.along(of_leaves, leaves, num_found=found.shape[1])
    return tree, tree.states == to_target
