"""Candidate sets over sets of codes: every candidate with the sets on its way.

See `candidate_tree` for codes in an order.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.model.code_set_transformer import CodeSetTransformer
from sidestep.objectives.value import is_first_of_prefix, shared_prefixes
from sidestep.padding import NO_ITEM
from sidestep.step import ROOT_SLOT, HistoryBatch
from sidestep.training.candidate_tree import CandidateTree
from sidestep.training.set_ways import chosen_ways


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

    Candidates that share a set on their ways share it as a prefix. Unlike a tree over codes in an
    order, each candidate has nodes of its own, so a set on several ways is read several times.

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
    right = space.state_of(targets)[:, None]
    leaves = found
    if include_target:
        missed = right.masked_fill((found == right).any(dim=1, keepdim=True), NO_STATE)
        leaves = torch.cat([found, missed], dim=1)
    is_candidate = leaves != NO_STATE
    items = space.items(leaves)[..., 0].masked_fill(~is_candidate, NO_ITEM)
    ways = chosen_ways(model, histories, torch.cat([items, targets[:, None]], dim=1), space)
    states = ways.states[:, :-1, 1:].masked_fill(~is_candidate[..., None], NO_STATE)
    codes = ways.actions[:, :-1]
    shared = shared_prefixes(states, is_candidate)
    users, candidates, levels = states.shape
    slots = torch.arange(1, 1 + candidates * levels, device=leaves.device)
    slots = slots.view(candidates, levels)
    parents = slots - 1
    parents[:, 0] = ROOT_SLOT
    depths = torch.arange(1, levels + 1, device=leaves.device).expand(candidates, levels)
    is_own = torch.arange(candidates, device=leaves.device) < found.shape[1]
    tree = CandidateTree(
        leaves=leaves,
        states=states,
        codes=codes,
        is_candidate=is_candidate,
        is_found=is_candidate & is_own,
        shared=shared,
        is_first=is_first_of_prefix(shared),
        slots=slots.expand(users, candidates, levels),
        node_states=states.flatten(1),
        node_codes=codes.flatten(1),
        parents=parents.expand(users, candidates, levels).flatten(1),
        depths=depths.expand(users, candidates, levels).flatten(1),
        is_node=is_candidate.repeat_interleave(levels, dim=1),
    )
    return tree, states == ways.states[:, -1:, 1:]
