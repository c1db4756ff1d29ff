"""The codes of a target that a search found: in a trie the first codes, of a set any codes.

A diagnosis measures searches with these numbers, so that a search over semantic IDs and one over
sets are measured alike.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.catalog.set_space import SetSpace
from sidestep.catalog.trie import NO_STATE
from sidestep.catalog.user_sets import is_among
from sidestep.metrics.ranking import diversity, set_diversity
from sidestep.search.policy import Scope

DiagnosedSpace = Scope | SetSpace
"""A code space whose searches can be diagnosed: the scope of a trie, or that of sets of codes."""


def reached(
    states: Int[Tensor, "users states"], targets: Int[Tensor, " users"], space: DiagnosedSpace
) -> Bool[Tensor, "users depths"]:
    """Whether some of the states leads to the target, by the number b of codes, from 1.

    In a trie, one of the states is the target's first b codes. Of sets, one of the states has at
    least b codes, and the target has all of them: the target is still among the items that the
    state may become. A way that ends early at an item has all codes of the item.

    Args:
        states: of any depths; `NO_STATE` is padding.
        targets: an item per user.
        space: of the states.
    """
    if isinstance(space, Scope):
        return is_among(_prefixes(targets, space), states)
    shared, decided = _shared_codes(states, targets, space)
    return _at_least(shared.masked_fill(shared < decided, 0), space.num_steps)


def recalled(
    leaves: Int[Tensor, "users leaves"], targets: Int[Tensor, " users"], space: DiagnosedSpace
) -> Bool[Tensor, "users depths"]:
    """Whether a leaf has the target's first b codes, by b from 1; of sets, any b of its codes."""
    if isinstance(space, Scope):
        return is_among(_prefixes(targets, space), space.trie.prefixes(leaves).flatten(1))
    return _at_least(_shared_codes(leaves, targets, space)[0], space.num_steps)


def leaf_diversity(
    leaves: Int[Tensor, "users leaves"], space: DiagnosedSpace
) -> Float[Tensor, " users"]:
    """Diversity of candidate sets, see `diversity` and `set_diversity`."""
    is_leaf = leaves != NO_STATE
    if isinstance(space, Scope):
        return diversity(space.trie.path(leaves), is_leaf)
    return set_diversity(space.features(leaves), is_leaf)


def _prefixes(targets: Int[Tensor, " users"], scope: Scope) -> Int[Tensor, "users levels"]:
    return scope.trie.prefixes(scope.trie.leaf_of(targets))


def _shared_codes(
    states: Int[Tensor, "users states"], targets: Int[Tensor, " users"], space: SetSpace
) -> tuple[Int[Tensor, "users states"], Int[Tensor, "users states"]]:
    """The number of codes of each state that the target has, and of all codes of the state."""
    codes = space.features(states)  # -1 where nothing is decided
    shared = (codes == space.actions_of(targets)[:, None]).sum(dim=2)
    return shared, (codes >= 0).sum(dim=2)


def _at_least(
    numbers: Int[Tensor, "users states"], num_depths: int
) -> Bool[Tensor, "users depths"]:
    """Whether the largest number of a user is at least 1, 2 and so on."""
    depths = torch.arange(1, num_depths + 1, device=numbers.device)
    return (numbers[:, :, None] >= depths).any(dim=1)
