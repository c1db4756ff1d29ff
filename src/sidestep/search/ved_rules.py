"""The rules of value-guided decoding, each a function of arrays: what to try next, and what grows.

Source: V-STAR (arXiv:2602.10699), sec. 4.2, eq. 10-14. Rows are users, columns the nodes of their
trees by slot, those of one level, or those of a path. Arrays of numpy: traversals follow one
another, each a few decisions about a few numbers, which take a processor less time than the call of
a device.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from sidestep.step import ROOT_SLOT

RootGate = Literal["priority", "always", "never"]
"""When the root may expand: if its priority is at least the mean of its children's; at every
traversal, as the paper reads literally, which spends most of a budget there; or only where nothing
else on the path can. V(root) follows from its children, so that the first compares entropies and
little else: a root that is less sure than its children passes as if always."""


def priorities(
    values: Float[np.ndarray, "users nodes"],
    entropies: Float[np.ndarray, "users nodes"],
    *,
    value_weight: float,
    entropy_weight: float,
) -> Float[np.ndarray, "users nodes"]:
    """G(s) = v · V(s) + λ · H(s), eq. 11; leaves have no entropy, which is 0."""
    ranked: np.ndarray = value_weight * values + entropy_weight * entropies
    return ranked


def upper_bounds(
    ranked_by: Float[np.ndarray, "users nodes"],
    visits: Int[np.ndarray, "users nodes"],
    traversals: Int[np.ndarray, " users"],
    exploration: float,
) -> Float[np.ndarray, "users nodes"]:
    """U(s) = G(s) + β √(ln(N_root + 1) / (N(s) + 1)), eq. 13."""
    doubt = np.sqrt(np.log(traversals + 1)[:, None] / (visits + 1))
    bounds: np.ndarray = ranked_by + exploration * doubt
    return bounds


def depth_means(
    ranked_by: Float[np.ndarray, "users nodes"],
    depths: Int[np.ndarray, "users nodes"],
    is_node: Bool[np.ndarray, "users nodes"],
    num_levels: int,
) -> Float[np.ndarray, "users depths"]:
    """Ḡ_l: the mean of the nodes of each depth from 0 to L; 0 where there is none."""
    users, size = len(ranked_by), len(ranked_by) * (num_levels + 1)
    group = (np.arange(users)[:, None] * (num_levels + 1) + depths).ravel()
    # Term after term, so that columns of padding between them change nothing.
    sums = np.bincount(group, (ranked_by * is_node).ravel(), minlength=size)
    counts = np.bincount(group, is_node.ravel(), minlength=size)
    means: np.ndarray = (sums / np.maximum(counts, 1)).reshape(users, num_levels + 1)
    return means


def gate_margins(
    ranked_by: Float[np.ndarray, "users nodes"],
    depths: Int[np.ndarray, "users nodes"],
    is_node: Bool[np.ndarray, "users nodes"],
    num_levels: int,
    root_gate: RootGate,
) -> Float[np.ndarray, "users nodes"]:
    """G(s) - Ḡ_l: a node passes its gate, eq. 14, where this is not negative.

    The root, alone at its depth, is held against the mean of depth 1, or passes always or never.
    """
    means = depth_means(ranked_by, depths, is_node, num_levels)
    margins: np.ndarray = ranked_by - np.take_along_axis(means, depths, axis=1)
    if root_gate == "priority":
        margins[:, ROOT_SLOT] = ranked_by[:, ROOT_SLOT] - means[:, 1]
    else:
        # Finite, so that a root that never passes still comes before a node that is closed.
        largest = np.finfo(margins.dtype).max
        margins[:, ROOT_SLOT] = largest if root_gate == "always" else -largest
    return margins


def num_open_below(
    is_open: Bool[np.ndarray, "users nodes"],
    parents: Int[np.ndarray, "users nodes"],
    depths: Int[np.ndarray, "users nodes"],
    num_levels: int,
) -> Int[np.ndarray, "users nodes"]:
    """Number of open nodes among each node and those below; a node with none leads nowhere."""
    counts = is_open.astype(np.int64)
    rows = np.arange(len(counts))[:, None]
    for depth in range(num_levels - 1, 0, -1):
        np.add.at(counts, (rows, parents), np.where(depths == depth, counts, 0))
    return counts


def best_child(
    bounds: Float[np.ndarray, "users level"],
    parents: Int[np.ndarray, "users level"],
    of: Int[np.ndarray, " users"],
) -> tuple[Int[np.ndarray, " users"], Bool[np.ndarray, " users"]]:
    """The child with the largest bound, of one node per user, and whether it has one.

    Of equal ones the first is taken.

    Args:
        bounds: U of the nodes of a level, -inf where one leads to nothing open.
        parents: of the same nodes, named as `of` names them.
        of: the parent whose child is wanted.
    """
    own = np.where(parents == of[:, None], bounds, -np.inf)
    best = own.argmax(axis=1)
    return best, own[np.arange(len(own)), best] > -np.inf


def expanding(
    margins: Float[np.ndarray, "users levels"], is_open: Bool[np.ndarray, "users levels"]
) -> Bool[np.ndarray, "users levels"]:
    """Nodes of a path that get a child, as they pass their gates.

    Where no open node passes its gate, the one with the largest margin expands; of equal ones the
    deepest.

    Args:
        margins: G - Ḡ, from the end of the path up to the root.
        is_open: whether the node has a code left to try; False past the end of the path.
    """
    passes = is_open & (margins >= 0)
    lacks_least = np.where(passes, np.inf, np.where(is_open, margins, -np.inf)).argmax(axis=1)
    passes[np.arange(len(passes)), lacks_least] = True
    grows: np.ndarray = passes & is_open
    return grows
