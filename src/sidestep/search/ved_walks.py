"""The traversals of value-guided decoding between two calls of the model: visits, and new children.

Source: V-STAR (arXiv:2602.10699), sec. 4.2; the rules are those of `search.ved_rules`. There are
about as many traversals, one after the other, as there are tokens, so that what a traversal does is
little: it looks at those nodes alone that lead to an open one, level by level.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from sidestep.search.ved_rules import best_child, expanding, num_open_below, upper_bounds
from sidestep.step import ROOT_SLOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Walks:
    """Result of the traversals of a round.

    parents: of the children that they make, in their order; of one path the deepest comes first.
    is_new: False where a column is padding.
    visits: N(s) after them.
    num_untried: codes left to try after them.
    traversals: N_root after them.
    """

    parents: Int[np.ndarray, "users made"]
    is_new: Bool[np.ndarray, "users made"]
    visits: Int[np.ndarray, "users nodes"]
    num_untried: Int[np.ndarray, "users nodes"]
    traversals: Int[np.ndarray, " users"]


def traverse(
    *,
    ranked_by: Float[np.ndarray, "users nodes"],
    margins: Float[np.ndarray, "users nodes"],
    parents: Int[np.ndarray, "users nodes"],
    depths: Int[np.ndarray, "users nodes"],
    visits: Int[np.ndarray, "users nodes"],
    num_untried: Int[np.ndarray, "users nodes"],
    traversals: Int[np.ndarray, " users"],
    wanted: Int[np.ndarray, " users"],
    exploration: float,
    num_levels: int,
) -> Walks:
    """Traverses each user's tree until as many children are made as wanted, or nothing is open.

    A traversal sees the visits of those before it and which codes they took, not the nodes that
    they made. N_root is that of before the first one, in the logarithm, so that one traversal goes
    by the published bounds. It visits every node of its path, whether a child grows below the node
    or not; the paper counts along the ancestors of a new child. The last may make more children
    than wanted.

    Args:
        ranked_by: G of every node.
        margins: of every node at its gate, see `gate_margins`.
        parents: slots; the root is its own.
        depths: codes decided.
        visits: N(s).
        num_untried: codes left to try; 0 at padding.
        traversals: N_root.
        wanted: children per user.
        exploration: β.
        num_levels: L.
    """
    rows = np.arange(len(parents))
    num_open = num_open_below(num_untried > 0, parents, depths, num_levels)
    nodes = _OpenNodes.of(num_open > 0, parents, depths, num_levels)
    # By place, the last of which is of no node.
    before = upper_bounds(ranked_by, visits, traversals, exploration)
    worth = np.stack([before, ranked_by, margins])[:, nodes.users, nodes.slots]
    worth[:, ~nodes.is_taken] = -np.inf
    bounds, priority, gate = worth
    counts = np.stack([visits, num_untried, num_open])[:, nodes.users, nodes.slots]
    counts[:, ~nodes.is_taken] = 0
    seen, untried, open_below = counts
    levels, nowhere = [], nodes.ends[-1]  # from depth 1 on, by user; views of what changes
    for start, end in itertools.pairwise(nodes.ends):
        level, above = bounds[start:end], nodes.above[start:end]
        levels.append((start, level.reshape(len(rows), -1), above.reshape(len(rows), -1)))
    total, count = traversals.copy(), np.zeros_like(wanted)
    paths = [np.empty((len(rows), 0), dtype=np.int64)]
    grown = [np.empty((len(rows), 0), dtype=bool)]
    while (walks := (count < wanted) & (open_below[: len(rows)] > 0)).any():
        # From the root down, always to the child with the largest bound; `nowhere` below the end.
        path = np.empty((len(rows), num_levels), dtype=np.int64)
        path[:, -1] = at = np.where(walks, rows, nowhere)
        for depth, (start, level, above) in enumerate(levels, start=1):
            best, has_child = best_child(level, above, at)
            at = np.where(has_child, start + rows * level.shape[1] + best, nowhere)
            path[:, -1 - depth] = at
        left = untried[path]
        is_new = expanding(gate[path], left > 0)
        paths.append(path)
        grown.append(is_new)
        count += is_new.sum(axis=1)
        total += walks
        seen[path] += 1
        untried[path] = left - is_new
        # What closes here was open below every node above it.
        still_open = open_below[path] - (is_new & (left == 1)).cumsum(axis=1)
        open_below[path] = still_open
        own = upper_bounds(priority[path], seen[path], traversals, exploration)
        own[still_open == 0] = -np.inf
        bounds[path] = own
    places, is_new = np.concatenate(paths, axis=1), np.concatenate(grown, axis=1)
    taken = (nodes.users[nodes.is_taken], nodes.slots[nodes.is_taken])
    visits, num_untried = visits.copy(), num_untried.copy()
    visits[taken], num_untried[taken] = seen[nodes.is_taken], untried[nodes.is_taken]
    return Walks(
        parents=np.where(is_new, nodes.slots[places], ROOT_SLOT),
        is_new=is_new,
        visits=visits,
        num_untried=num_untried,
        traversals=total,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenNodes:
    """The nodes that lead to an open one, all users' of a depth side by side.

    So a level is a slice, and a place is one number; the roots come first, by user. The last place
    is of no node: it stands for what is below the end of a path.

    users: of the node at each place; those of a level by user, and as many for each.
    slots: of the node.
    above: the place of the node's parent; the last place where there is none.
    is_taken: False where a place is empty.
    ends: where each depth's places end, from 0 to L - 1.
    """

    users: Int[np.ndarray, " places"]
    slots: Int[np.ndarray, " places"]
    above: Int[np.ndarray, " places"]
    is_taken: Bool[np.ndarray, " places"]
    ends: tuple[int, ...]

    @staticmethod
    def of(
        leads: Bool[np.ndarray, "users nodes"],
        parents: Int[np.ndarray, "users nodes"],
        depths: Int[np.ndarray, "users nodes"],
        num_levels: int,
    ) -> "_OpenNodes":
        """Places for the nodes that lead on, in the order of their slots."""
        rows = np.arange(len(leads))[:, None]
        users, slots, is_taken, ends = [], [], [], [0]
        for depth in range(num_levels):
            is_here = leads & (depths == depth)
            # At least one place each, so that the largest of a level can be asked for.
            width = max(int(is_here.sum(axis=1).max()), 1)
            columns = (~is_here).argsort(axis=1, kind="stable")[:, :width]
            users.append(np.broadcast_to(rows, columns.shape).ravel())
            slots.append(columns.ravel())
            is_taken.append(is_here[rows, columns].ravel())
            ends.append(ends[-1] + columns.size)
        owner, slot = np.concatenate([*users, [0]]), np.concatenate([*slots, [0]])
        has_node = np.concatenate([*is_taken, [False]])
        (taken,) = has_node.nonzero()
        place = np.full(leads.shape, ends[-1])
        place[owner[taken], slot[taken]] = taken
        above = np.full(len(slot), ends[-1])
        above[taken] = place[owner[taken], parents[owner[taken], slot[taken]]]
        above[: len(leads)] = ends[-1]
        return _OpenNodes(
            users=owner, slots=slot, above=above, is_taken=has_node, ends=tuple(ends[1:])
        )
