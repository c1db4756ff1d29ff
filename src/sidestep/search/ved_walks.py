"""The traversals of value-guided decoding between two calls of the model: visits, and new children.

Source: V-STAR (arXiv:2602.10699), sec. 4.2; the rules are those of `search.ved_rules`. There are
about as many traversals, one after the other, as there are tokens, so that what a traversal does is
little: it looks at those nodes alone that lead to an open one, level by level.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from sidestep.search.ved_rules import best_child, expanding, num_open_below, upper_bounds
from sidestep.step import ROOT_SLOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Walks:
    """What the traversals of a round did.

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
    num_open = num_open_below(num_untried > 0, parents, depths, num_levels)
    nodes = _OpenNodes.of(num_open > 0, depths, num_levels)
    above = nodes.places_of(parents)
    bounds = nodes.put(upper_bounds(ranked_by, visits, traversals, exploration), empty=-np.inf)
    priority, gate = (nodes.put(x, empty=-np.inf) for x in (ranked_by, margins))
    seen, untried, open_below = (nodes.put(x, empty=0) for x in (visits, num_untried, num_open))
    bounds_by_level, above_by_level = nodes.levels(bounds), nodes.levels(above)
    total, count = traversals.copy(), np.zeros_like(wanted)
    made = [(np.empty((len(count), 0), dtype=np.int64), np.empty((len(count), 0), dtype=bool))]
    while (walks := (count < wanted) & (open_below[nodes.roots] > 0)).any():
        path = nodes.best_path(bounds_by_level, above_by_level, walks)
        left = untried[path]
        is_new = expanding(gate[path], left > 0)
        made.append((path, is_new))
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
    places, is_new = (np.concatenate(parts, axis=1) for parts in zip(*made, strict=True))
    return Walks(
        parents=np.where(is_new, nodes.slots[places], ROOT_SLOT),
        is_new=is_new,
        visits=nodes.put_back(seen, visits),
        num_untried=nodes.put_back(untried, num_untried),
        traversals=total,
    )


@dataclass(frozen=True, kw_only=True)
class _OpenNodes:
    """The nodes that lead to an open one, all users' of a depth side by side.

    So a level is a slice, and a place is one number. The last place, `nowhere`, is of no node: it
    stands for what is below the end of a path.

    users: of the node at each place; those of a level by user, and as many for each.
    slots: of the node.
    is_taken: False where a place is empty.
    ends: where each depth's places end, from 0 to L - 1.
    shape: users and nodes.
    """

    users: Int[np.ndarray, " places"]
    slots: Int[np.ndarray, " places"]
    is_taken: Bool[np.ndarray, " places"]
    ends: tuple[int, ...]
    shape: tuple[int, int]

    @classmethod
    def of(
        cls,
        leads: Bool[np.ndarray, "users nodes"],
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
        return cls(
            users=np.concatenate([*users, [0]]),
            slots=np.concatenate([*slots, [0]]),
            is_taken=np.concatenate([*is_taken, [False]]),
            ends=tuple(ends[1:]),
            shape=leads.shape,
        )

    @cached_property
    def rows(self) -> Int[np.ndarray, " users"]:
        """The users, counted."""
        return np.arange(self.shape[0])

    @property
    def nowhere(self) -> int:
        """The place of no node."""
        return self.ends[-1]

    @property
    def roots(self) -> slice:
        """The places of the roots, by user."""
        return slice(self.shape[0])

    def put(self, values: np.ndarray, *, empty: float | int) -> np.ndarray:
        """What is known of nodes, at their places."""
        return np.where(self.is_taken, values[self.users, self.slots], empty)

    def put_back(self, placed: np.ndarray, values: np.ndarray) -> np.ndarray:
        """What is known of nodes, after it changed at some places."""
        changed = values.copy()
        changed[self.users[self.is_taken], self.slots[self.is_taken]] = placed[self.is_taken]
        return changed

    def places_of(self, parents: Int[np.ndarray, "users nodes"]) -> Int[np.ndarray, " places"]:
        """At each place that of the node's parent; `nowhere` at the roots."""
        place = np.full(self.shape, self.nowhere)
        (taken,) = self.is_taken.nonzero()
        place[self.users[taken], self.slots[taken]] = taken
        above = np.full(len(self.slots), self.nowhere)
        above[taken] = place[self.users[taken], parents[self.users[taken], self.slots[taken]]]
        above[self.roots] = self.nowhere
        return above

    def levels(self, values: np.ndarray) -> list[np.ndarray]:
        """What stands at the places of each depth from 1 on, by user; views, not copies."""
        return [
            values[start:end].reshape(self.shape[0], -1)
            for start, end in itertools.pairwise(self.ends)
        ]

    def best_path(
        self,
        bounds: list[np.ndarray],
        above: list[np.ndarray],
        walks: Bool[np.ndarray, " users"],
    ) -> Int[np.ndarray, "users levels"]:
        """Places from the end of a path up to the root: always the child with the largest bound.

        `nowhere` below the end, and throughout for a user that does not walk.

        Args:
            bounds: U, -inf where a node leads to nothing open; by level, see `levels`.
            above: places of parents, likewise.
            walks: whose path is wanted.
        """
        path = np.empty((len(walks), len(self.ends)), dtype=np.int64)
        path[:, -1] = at = np.where(walks, self.rows, self.nowhere)
        for depth, start in enumerate(self.ends[:-1], start=1):
            level = bounds[depth - 1]
            best, has_child = best_child(level, above[depth - 1], at)
            first = start + self.rows * level.shape[1]
            at = np.where(has_child, first + best, self.nowhere)
            path[:, -1 - depth] = at
        return path
