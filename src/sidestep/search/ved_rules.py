"""The rules of value-guided decoding, each a function of arrays: what to try next, and what grows.

Source: V-STAR (arXiv:2602.10699), sec. 4.2, eq. 10-14. Rows are users, columns the nodes of their
trees by slot, or the levels of a path.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.step import ROOT_SLOT

RootGate = Literal["priority", "always", "never"]
"""When the root may expand: if its priority is at least the mean of its children's; at every
traversal, as the paper reads literally, which spends most of a budget there; or only where nothing
else on the path can. V(root) follows from its children, so that the first compares entropies and
little else: a root that is less sure than its children passes as if always."""


def priorities(
    values: Float[Tensor, "users nodes"],
    entropies: Float[Tensor, "users nodes"],
    *,
    value_weight: float,
    entropy_weight: float,
) -> Float[Tensor, "users nodes"]:
    """G(s) = v · V(s) + λ · H(s), eq. 11; leaves have no entropy, which is 0."""
    return value_weight * values + entropy_weight * entropies


def upper_bounds(
    priorities: Float[Tensor, "users nodes"],
    visits: Int[Tensor, "users nodes"],
    traversals: Int[Tensor, " users"],
    exploration: float,
) -> Float[Tensor, "users nodes"]:
    """U(s) = G(s) + β √(ln(N_root + 1) / (N(s) + 1)), eq. 13."""
    doubt = ((traversals.double()[:, None] + 1).log() / (visits + 1)).sqrt()
    return priorities + exploration * doubt


def depth_means(
    priorities: Float[Tensor, "users nodes"],
    depths: Int[Tensor, "users nodes"],
    is_node: Bool[Tensor, "users nodes"],
    num_levels: int,
) -> Float[Tensor, "users depths"]:
    """Ḡ_l: the mean of the nodes of each depth from 0 to L; 0 where there is none."""
    rows = (len(priorities), num_levels + 1)
    sums = priorities.new_zeros(rows).scatter_add_(1, depths, priorities * is_node)
    counts = priorities.new_zeros(rows).scatter_add_(1, depths, is_node.to(priorities.dtype))
    return sums / counts.clamp(min=1)


def gate_margins(
    priorities: Float[Tensor, "users nodes"],
    depths: Int[Tensor, "users nodes"],
    is_node: Bool[Tensor, "users nodes"],
    num_levels: int,
    root_gate: RootGate,
) -> Float[Tensor, "users nodes"]:
    """G(s) - Ḡ_l: a node passes its gate, eq. 14, where this is not negative.

    The root, alone at its depth, is held against the mean of depth 1, or passes always or never.
    """
    means = depth_means(priorities, depths, is_node, num_levels)
    margins = priorities - means.gather(1, depths)
    if root_gate == "priority":
        margins[:, ROOT_SLOT] = priorities[:, ROOT_SLOT] - means[:, 1]
    else:
        # Finite, so that a root that never passes still comes before a node that is closed.
        largest = torch.finfo(margins.dtype).max
        margins[:, ROOT_SLOT] = largest if root_gate == "always" else -largest
    return margins


def num_open_below(
    is_open: Bool[Tensor, "users nodes"],
    parents: Int[Tensor, "users nodes"],
    depths: Int[Tensor, "users nodes"],
    num_levels: int,
) -> Int[Tensor, "users nodes"]:
    """How many nodes are open among each node and those below; one with none leads nowhere."""
    counts = is_open.long()
    for depth in range(num_levels - 1, 0, -1):
        counts.scatter_add_(1, parents, counts.masked_fill(depths != depth, 0))
    return counts


def best_path(
    bounds: Float[Tensor, "users nodes"],
    leads: Bool[Tensor, "users nodes"],
    parents: Int[Tensor, "users nodes"],
    num_levels: int,
) -> Int[Tensor, "users levels"]:
    """From the root down to the child with the largest bound that leads to an open node.

    Of equal ones the first is taken. By depth, from 0 to L - 1; -1 below the end of a path, and
    throughout where not even the root leads to an open node.
    """
    nowhere = bounds.new_full((), -torch.inf)
    bounds = torch.where(leads, bounds, nowhere)
    bounds[:, ROOT_SLOT] = -torch.inf  # its own parent, and no child
    current = torch.where(leads[:, ROOT_SLOT], ROOT_SLOT, -1)
    path = [current]
    for _ in range(1, num_levels):
        largest, best = torch.where(parents == current[:, None], bounds, nowhere).max(dim=1)
        current = torch.where(largest > -torch.inf, best, -1)
        path.append(current)
    return torch.stack(path, dim=1)


def expanding(
    margins: Float[Tensor, "users levels"],
    is_open: Bool[Tensor, "users levels"],
    tokens_left: Int[Tensor, " users"],
) -> Bool[Tensor, "users levels"]:
    """Which nodes of a path get a child: those that pass, deepest first, while tokens last.

    Where no open node passes its gate, the one with the largest margin expands.

    Args:
        margins: G - Ḡ, from the root down.
        is_open: whether the node has a code left to try; False past the end of the path.
        tokens_left: a child costs one.
    """
    passes = is_open & (margins >= 0)
    best = margins.masked_fill(~is_open, -torch.inf).argmax(dim=1, keepdim=True)
    lacks_least = torch.zeros_like(is_open).scatter_(1, best, True) & is_open
    passes |= lacks_least & ~passes.any(dim=1, keepdim=True)
    place = passes.flip(1).cumsum(dim=1).flip(1)  # 1 at the deepest
    return passes & (place <= tokens_left[:, None])
