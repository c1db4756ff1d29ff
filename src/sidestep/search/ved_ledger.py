"""Ledger of value-guided decoding: the visits, values and untried codes that decide its growth.

It lies on the processor whatever device the model is on, and in float64: its decisions are many,
small, and must not depend on how users are batched.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.search.ved_rules import RootGate, depth_means, gate_margins, priorities
from sidestep.search.ved_walks import traverse
from sidestep.step import ROOT_SLOT


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthRules:
    """Rules of the growth of a tree; each is described at `ValueGuidedDecoding`."""

    exploration: float
    entropy_weight: float
    value_weight: float
    gamma: float
    root_gate: RootGate


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """The children that the model is shown in one call, and the nodes that their codes come from.

    Children of one node are draws of the node, one after the other, so that the node is read once
    for all of them. A child that is no padding has an entry in all arrays `children`.

    parents: slots.
    depths: codes decided at the children.
    is_new: False at padding.
    users: of a child.
    slots: of its parent.
    places: of the child among all columns, user by user.
    rows: of its parent among the nodes that are drawn from.
    ranks: how many draws of the parent come before the child's.
    owners: the user of each node that is drawn from.
    nodes: the slot of each node that is drawn from.
    most_draws: the largest number of draws of one node, known without asking the device.
    """

    parents: Int[Tensor, "users width"]
    depths: Int[Tensor, "users width"]
    is_new: Bool[Tensor, "users width"]
    users: Int[Tensor, " children"]
    slots: Int[Tensor, " children"]
    places: Int[Tensor, " children"]
    rows: Int[Tensor, " children"]
    ranks: Int[Tensor, " children"]
    owners: Int[Tensor, " nodes"]
    nodes: Int[Tensor, " nodes"]
    most_draws: int

    @staticmethod
    def on(
        device: torch.device,
        *,
        parents: Int[np.ndarray, "users width"],
        depths: Int[np.ndarray, "users width"],
        is_new: Bool[np.ndarray, "users width"],
    ) -> "Children":
        """The children of a call, in one copy to the device.

        Args:
            device: of the model.
            parents: slots.
            depths: codes decided at the children.
            is_new: False at padding; True at least once.
        """
        users, columns = is_new.nonzero()
        slots = parents[users, columns]
        # Children of one node side by side, in the order of their columns.
        keys = users * (1 + int(slots.max())) + slots
        order = keys.argsort(kind="stable")
        keys = keys[order]
        is_first = np.ones(len(keys), dtype=bool)
        is_first[1:] = keys[1:] != keys[:-1]
        (starts,) = is_first.nonzero()
        nodes = order[starts]
        rows, ranks = np.empty_like(order), np.empty_like(order)
        rows[order] = is_first.cumsum() - 1
        ranks[order] = np.arange(len(order)) - starts[rows[order]]
        places = users * parents.shape[1] + columns
        arrays: tuple[np.ndarray, ...] = (parents, depths, is_new, users, slots, places)
        arrays = (*arrays, rows, ranks, users[nodes], slots[nodes])
        packed = torch.from_numpy(np.concatenate(list(map(np.ravel, arrays)))).to(device)
        parts = torch.split_with_sizes(packed, list(map(np.size, arrays)))
        return Children(
            parents=parts[0].view(parents.shape),
            depths=parts[1].view(parents.shape),
            is_new=parts[2].view(parents.shape).bool(),
            users=parts[3],
            slots=parts[4],
            places=parts[5],
            rows=parts[6],
            ranks=parts[7],
            owners=parts[8],
            nodes=parts[9],
            most_draws=int(ranks.max()) + 1,
        )


class Ledger:
    """The nodes of a batch of trees by slot, and the children that wait to be shown to the model.

    Of arrays with nodes the columns up to `size` are in use.
    """

    def __init__(
        self,
        *,
        users: int,
        capacity: int,
        tokens: int,
        num_levels: int,
        rules: GrowthRules,
    ) -> None:
        """Trees without a node, not even the root.

        Args:
            users: of the batch.
            capacity: nodes below the root that there is room for, padding included.
            tokens: what a user's search may spend beyond the root.
            num_levels: L.
            rules: see there.
        """
        self.num_levels, self.rules = num_levels, rules
        self.size = 0
        shape = (users, 1 + capacity)
        self.parents = np.zeros(shape, dtype=np.int64)
        self.depths = np.zeros(shape, dtype=np.int64)
        self.is_node = np.zeros(shape, dtype=bool)
        self.values = np.zeros(shape)
        self.entropies = np.zeros(shape)
        self.visits = np.zeros(shape, dtype=np.int64)
        self.num_untried = np.zeros(shape, dtype=np.int64)
        self.traversals = np.zeros(users, dtype=np.int64)
        self.tokens_left = np.full(users, tokens)
        # Parents of the children that are paid for and not yet shown to the model, oldest first.
        self.waiting = np.zeros((users, 0), dtype=np.int64)
        self.is_waiting = np.zeros((users, 0), dtype=bool)

    def add(
        self,
        parents: Int[np.ndarray, "users width"],
        depths: Int[np.ndarray, "users width"],
        is_node: Bool[np.ndarray, "users width"],
        *,
        values: Float[Tensor, "users width"],
        entropies: Float[Tensor, "users width"],
        num_codes: Int[Tensor, "users width"],
    ) -> None:
        """Enters what the model said of new nodes, in the next columns.

        Args:
            parents: slots; the root is its own.
            depths: codes decided.
            is_node: False at padding.
            values: V; whatever at padding, as the next.
            entropies: H, in nats.
            num_codes: that may follow; 0 at padding.

        Raises:
            ValueError: the value of a node is not finite: no bound could be compared with it.
        """
        columns = slice(self.size, self.size + parents.shape[1])
        # One copy from the device for the three.
        values_here, entropies_here, num_codes_here = (
            torch.stack([values.double(), entropies.double(), num_codes.double()]).cpu().numpy()
        )
        if not np.isfinite(values_here[is_node]).all():
            raise ValueError(
                "the model says a value that is not a finite number: weights of its network or of "
                "its value head are none."
            )
        self.parents[:, columns] = parents
        self.depths[:, columns] = depths
        self.is_node[:, columns] = is_node
        self.values[:, columns] = np.where(is_node, values_here, 0.0)
        self.entropies[:, columns] = np.where(is_node, entropies_here, 0.0)
        self.num_untried[:, columns] = num_codes_here
        self.size = columns.stop

    def spend(
        self, parents: Int[np.ndarray, "users width"], is_new: Bool[np.ndarray, "users width"]
    ) -> None:
        """A token and a code less to try for each child of a warm start."""
        users, place = is_new.nonzero()
        np.subtract.at(self.num_untried, (users, parents[users, place]), 1)
        self.tokens_left -= is_new.sum(axis=1)

    def ranked(self) -> tuple[Float[np.ndarray, "users nodes"], Float[np.ndarray, "users nodes"]]:
        """V and G of all nodes; the root's V follows from its children."""
        values, depths = self.values[:, : self.size].copy(), self.depths[:, : self.size]
        means = depth_means(values, depths, self.is_node[:, : self.size], self.num_levels)
        values[:, ROOT_SLOT] = self.rules.gamma * means[:, 1]
        ranked_by = priorities(
            values,
            self.entropies[:, : self.size],
            value_weight=self.rules.value_weight,
            entropy_weight=self.rules.entropy_weight,
        )
        return values, ranked_by

    def next_children(
        self, at_once: int
    ) -> tuple[
        Int[np.ndarray, "users width"],
        Int[np.ndarray, "users width"],
        Bool[np.ndarray, "users width"],
    ]:
        """Traverses the trees; parents and depths of the children that the model is shown now.

        At most `at_once` of each user; none of any user once nothing can grow. They are paid for.
        The last array is False at padding.
        """
        ranked_by, inside = self.ranked()[1], slice(self.size)
        depths = self.depths[:, inside]
        margins = gate_margins(
            ranked_by, depths, self.is_node[:, inside], self.num_levels, self.rules.root_gate
        )
        num_waiting = self.is_waiting.sum(axis=1)
        walks = traverse(
            ranked_by=ranked_by,
            margins=margins,
            parents=self.parents[:, inside],
            depths=depths,
            visits=self.visits[:, inside],
            num_untried=self.num_untried[:, inside],
            traversals=self.traversals,
            wanted=np.minimum(at_once - num_waiting, self.tokens_left),
            exploration=self.rules.exploration,
            num_levels=self.num_levels,
        )
        self.visits[:, inside] = walks.visits
        self.num_untried[:, inside] = walks.num_untried
        self.traversals = walks.traversals
        is_new = walks.is_new & (walks.is_new.cumsum(axis=1) <= self.tokens_left[:, None])
        self.tokens_left -= is_new.sum(axis=1)
        parents = np.concatenate([self.waiting, walks.parents], axis=1)
        is_new = np.concatenate([self.is_waiting, is_new], axis=1)
        # Every user's children to the front, in the order in which they were made.
        order = (~is_new).argsort(axis=1, kind="stable")[:, : int(is_new.sum(axis=1).max())]
        parents = np.take_along_axis(parents, order, axis=1)
        is_new = np.take_along_axis(is_new, order, axis=1)
        self.waiting, self.is_waiting = parents[:, at_once:], is_new[:, at_once:]
        parents, is_new = parents[:, :at_once], is_new[:, :at_once]
        return parents, np.take_along_axis(depths, parents, axis=1) + 1, is_new
