"""The context: what a model remembers of its histories and of the nodes extended so far."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sidestep.model.set_items import SlotSets
from sidestep.model.sibling_items import SlotPrefixes
from sidestep.step import ROOT_SLOT, HistoryStates

NO_SLOT = -1
"""Where a node has no ancestor at a depth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValues:
    """Keys and values of one attention layer, column by column: [prompt | nodes]."""

    keys: Float[Tensor, "users kv_heads columns head_dim"]
    values: Float[Tensor, "users kv_heads columns head_dim"]

    def with_room(self, num_columns: int) -> "KeyValues":
        """Copies the columns to the start of a buffer of `num_columns`."""

        def padded(columns: Tensor) -> Tensor:
            users, heads, width, dim = columns.shape
            buffer = columns.new_empty(users, heads, num_columns, dim)
            buffer[:, :, :width] = columns
            return buffer

        return KeyValues(keys=padded(self.keys), values=padded(self.values))

    def appended(
        self,
        start: int,
        keys: Float[Tensor, "users kv_heads width head_dim"],
        values: Float[Tensor, "users kv_heads width head_dim"],
    ) -> tuple["KeyValues", Tensor, Tensor]:
        """Puts columns at `start`; returns what to keep, and the columns up to their end.

        Without grad they are written in place; where they find no room, into a buffer half as large
        again. Under grad they are concatenated: autograd still needs the columns that the layer
        read before.
        """
        end, room = start + keys.shape[2], self.keys.shape[2]
        if torch.is_grad_enabled():
            joined = KeyValues(
                keys=torch.cat([self.keys[:, :, :start], keys], dim=2),
                values=torch.cat([self.values[:, :, :start], values], dim=2),
            )
            return joined, joined.keys, joined.values
        kept = self if end <= room else self.with_room(max(end, room + room // 2))
        kept.keys[:, :, start:end] = keys
        kept.values[:, :, start:end] = values
        return kept, kept.keys[:, :, :end], kept.values[:, :, :end]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Keys and values of the encoded histories, for cross-attention: one entry per layer."""

    layers: tuple[KeyValues, ...]
    is_visible: Bool[Tensor, "users prompt"]


def root_slots(
    users: int, num_levels: int, *, device: torch.device
) -> Int[Tensor, "users 1 depths"]:
    """The ancestors of roots by depth: each root itself, see `TreeContext.ancestor_slots`."""
    slots = torch.full((users, 1, num_levels + 1), NO_SLOT, dtype=torch.long, device=device)
    slots[:, :, 0] = ROOT_SLOT
    return slots


def placed_slots(
    ancestor_slots: Int[Tensor, "users slots depths"],
    parents: Int[Tensor, "users width"],
    depths: Int[Tensor, "users width"],
    is_node: Bool[Tensor, "users width"],
    depth: int | None = None,
) -> Int[Tensor, "users longer depths"]:
    """The ancestors by depth of all slots, after new nodes took the next ones.

    Args:
        ancestor_slots: of the slots so far.
        parents: see `StepModel.extend`.
        depths: see there.
        is_node: see there.
        depth: see there.

    Raises:
        ValueError: if a node is deeper than there are levels, or a parent is in no slot. Parents
            are not checked where `depth` is given.
    """
    width = parents.shape[1]
    users, slots, num_depths = ancestor_slots.shape
    if depth is None:
        has_place = (depths >= 1) & (depths < num_depths)
        has_parent = (parents >= ROOT_SLOT) & (parents < slots + width)
        is_wrong = bool((is_node & ~(has_place & has_parent)).any())
    else:
        is_wrong = not 1 <= depth < num_depths
    if is_wrong:
        raise ValueError(
            f"a node needs a depth from 1 to {num_depths - 1} and a parent in one of the "
            f"{slots + width} slots."
        )
    own_slots = torch.arange(slots, slots + width, device=parents.device).expand(users, width)
    by_depth = torch.arange(num_depths, device=parents.device)
    own = torch.where(by_depth == depths[..., None], own_slots[..., None], NO_SLOT)
    lines = torch.cat([ancestor_slots, own], dim=1)
    # A parent may lie in the same call, so a line is only complete once its parent's is: each
    # pass copies every parent's line, and after the deepest chain of this call all are. Nodes of
    # one depth are no chain.
    index = parents.clamp(ROOT_SLOT, slots + width - 1)[..., None].expand(users, width, num_depths)
    passes = 1 if depth is not None or width == 1 else num_depths - 1
    for _ in range(passes):
        lines[:, slots:] = torch.maximum(lines.gather(1, index), own)
    return lines


def path_mask(
    ancestor_slots: Int[Tensor, "users slots depths"], width: int
) -> Bool[Tensor, "users width slots"]:
    """The slots on the path to each of the last `width` nodes, itself and the root included."""
    users, slots, _ = ancestor_slots.shape
    mask = torch.zeros(users, width, slots + 1, dtype=torch.bool, device=ancestor_slots.device)
    # Every path begins at the root, which padding sees, too. A missing ancestor marks the spare
    # last column, which is cut off.
    mask[..., ROOT_SLOT] = True
    paths = ancestor_slots[:, slots - width :]
    mask.scatter_(2, torch.where(paths == NO_SLOT, slots, paths), True)
    return mask[..., :-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeContext:
    """An encoded prompt and the nodes extended so far, shared by all models of this package.

    layers: keys and values per layer; columns are [prompt | nodes], slot s > 0 in column
        `prompt_width + s - 1`. The root is the last visible position of the prompt.
    prompt_lengths: visible prompt positions per user, at least 1.
    prompt_width: columns of the prompt, padding included.
    ancestor_slots: per slot its ancestors by depth, itself included; `NO_SLOT` elsewhere.
    memory: the encoder's side of an encoder-decoder, else None.
    history_states: see `Context`.
    head: keys and values of a head that reads the states of the nodes, slot s in column s; None
        without such a head.
    prefixes: the prefix or the set of each slot, for a network in which items choose codes; else
        None.
    """

    layers: tuple[KeyValues, ...]
    prompt_lengths: Int[Tensor, " users"]
    prompt_width: int
    ancestor_slots: Int[Tensor, "users slots depths"]
    memory: Memory | None = None
    history_states: HistoryStates | None = None
    head: KeyValues | None = None
    prefixes: SlotPrefixes | SlotSets | None = None

    @property
    def num_nodes(self) -> int:
        """Nodes extended so far, padding included; the root does not count."""
        return self.ancestor_slots.shape[1] - 1

    @property
    def next_column(self) -> int:
        """The column that the next node takes."""
        return self.prompt_width + self.num_nodes

    def placed(
        self,
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        is_node: Bool[Tensor, "users width"],
        depth: int | None = None,
    ) -> "TreeContext":
        """The context with slots for new nodes, whose keys and values are still to be written.

        Args:
            parents: see `StepModel.extend`.
            depths: see there.
            is_node: see there.
            depth: see there.

        Raises:
            ValueError: see `placed_slots`.
        """
        slots = placed_slots(self.ancestor_slots, parents, depths, is_node, depth)
        return replace(self, ancestor_slots=slots)

    def with_layers(self, layers: Sequence[KeyValues]) -> "TreeContext":
        """The context with the columns of its newest nodes filled in."""
        return replace(self, layers=tuple(layers))

    def with_root_in_head(self, root: KeyValues) -> "TreeContext":
        """The context of a root with one column of a head, and as much room as the layers have."""
        room = self.layers[0].keys.shape[2] - self.prompt_width
        return self.with_head(root.with_room(1 + room) if room else root)

    def with_head(self, columns: KeyValues) -> "TreeContext":
        """The context after a head has read the newest nodes."""
        return replace(self, head=columns)

    def path_mask(self, width: int) -> Bool[Tensor, "users width slots"]:
        """The slots on the path to each of the last `width` nodes, see `path_mask`."""
        return path_mask(self.ancestor_slots, width)

    def node_mask(
        self, width: int, visible: Int[Tensor, "users width"] | None
    ) -> Bool[Tensor, "users width columns"]:
        """Mask of the last `width` nodes: their visible prompt, ancestors and themselves."""
        users = self.prompt_lengths.shape[0]
        device = self.prompt_lengths.device
        mask = torch.zeros(users, width, self.next_column + 1, dtype=torch.bool, device=device)
        if visible is None:
            visible = self.prompt_lengths[:, None].expand(users, width)
        positions = torch.arange(self.prompt_width, device=device)
        mask[..., : self.prompt_width] = positions < visible[..., None]
        # Slot s > 0 stands in column prompt_width + s - 1; the root is part of the prompt. A
        # missing ancestor marks the spare last column, which is cut off.
        slots = self.ancestor_slots[:, -width:, 1:]
        columns = torch.where(slots == NO_SLOT, self.next_column, self.prompt_width + slots - 1)
        mask.scatter_(2, columns, True)
        return mask[..., :-1]


def root_context(
    *,
    layers: Sequence[KeyValues],
    prompt_lengths: Int[Tensor, " users"],
    num_levels: int,
    capacity: int,
    memory: Memory | None = None,
    history_states: HistoryStates | None = None,
    prefixes: SlotPrefixes | SlotSets | None = None,
) -> TreeContext:
    """A context that holds an encoded prompt and no node but the root.

    Args:
        layers: keys and values of the prompt, per layer.
        prompt_lengths: visible prompt positions per user.
        num_levels: codes per semantic ID.
        capacity: nodes that are foreseen, see `StepModel.encode`.
        memory: the encoder's side, if there is one.
        history_states: for prefix scorers, if there are any.
        prefixes: of the roots, see `TreeContext`.
    """
    users, device = prompt_lengths.shape[0], prompt_lengths.device
    prompt_width = layers[0].keys.shape[2]
    # Under grad nothing is written in place, so room would only be copied along.
    room = 0 if torch.is_grad_enabled() else capacity
    return TreeContext(
        layers=tuple(layer.with_room(prompt_width + room) if room else layer for layer in layers),
        prompt_lengths=prompt_lengths,
        prompt_width=prompt_width,
        ancestor_slots=root_slots(users, num_levels, device=device),
        memory=memory,
        history_states=history_states,
        prefixes=prefixes,
    )
