"""The trie of all legal prefixes: what may follow a prefix, and which items a leaf holds.

A trie answers two kinds of questions: those of a walk (`legal`, `child`, `items`), which
`sidestep.search.policy.Scope` turns into a code space, and those of the interface `PrefixTree`.
Everything here is batched and stays on the device of the trie. A state is a node's number; see
`flat` for the numbering and the building of the arrays, and `dense_rows` for what answers faster
near the root. On the way of a search, arrays are read by `index_select`: indexing by brackets takes
four times as long on a CPU.
"""

import itertools

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

from sidestep.catalog.availability import Availability
from sidestep.catalog.dense_rows import DenseRows
from sidestep.catalog.flat import FlatTrie, build_flat, first_out_of_range
from sidestep.catalog.latest import LatestAnswers
from sidestep.padding import NO_ITEM

NO_STATE = -1
"""The state of a walk that left the trie; it has no legal codes, no children and no items."""

NO_CODE = -1
"""The last code of the root, and padding after the end of a path."""


class Trie:
    """All prefixes of a catalog's semantic IDs.

    Attributes:
        codebook_sizes: codes per level.
        depth_starts: first node of each depth, and the number of nodes at the end.
        codes, child_start, bucket_start, bucket_items: as in `FlatTrie`.
        item_leaves: the leaf of each item.
        dense: rows for the nodes with many children; a cache, made from the arrays.
        num_levels: codes of a semantic ID, and the depth of the leaves.
        max_codes: size of the largest codebook: the width of `legal`.
        first_leaf: the smallest state that is a leaf.
    """

    def __init__(
        self,
        *,
        codebook_sizes: tuple[int, ...],
        depth_starts: tuple[int, ...],
        codes: Integer[Tensor, " nodes"],
        child_start: Int[Tensor, " inner_plus_one"],
        bucket_start: Int[Tensor, " leaves_plus_one"],
        bucket_items: Int[Tensor, " items"],
        leaf_of: Int[Tensor, " items"],
        dense: DenseRows | None = None,
    ) -> None:
        """Takes arrays that belong together; use `build` to make them from semantic IDs."""
        self.codebook_sizes = codebook_sizes
        self.depth_starts = depth_starts
        self.codes = codes
        self.child_start = child_start
        self.bucket_start = bucket_start
        self.bucket_items = bucket_items
        self.item_leaves = leaf_of
        self.num_levels = len(codebook_sizes)
        self.max_codes = max(codebook_sizes)
        self.first_leaf = depth_starts[-2]
        self.dense = (
            DenseRows.build(codes, child_start, depth_starts=depth_starts, max_codes=self.max_codes)
            if dense is None
            else dense
        )
        self.max_bucket = int(bucket_start.diff().max())
        # Looked up once, so that no answer needs to look at its states first.
        self._num_dense = self.dense.num_nodes
        most_children = [
            0 if end <= self._num_dense else int(child_start[start : end + 1].diff().max())
            for start, end in itertools.pairwise(depth_starts[:-1])
        ]
        # By depth, and last of all depths: of nodes that have no dense row.
        self._most_children = (*most_children, 0, max(most_children))
        self._availabilities = LatestAnswers[Availability]()

    @staticmethod
    def build(
        semantic_ids: Int[np.ndarray, "items levels"] | Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
        *,
        popularity: Int[np.ndarray, " items"] | None = None,
    ) -> "Trie":
        """Builds the trie on the CPU by one sort of the semantic IDs.

        Args:
            semantic_ids: row i is item i; items may share a semantic ID.
            codebook_sizes: codes per level.
            popularity: orders the items of a bucket, descending, ties by index.

        Raises:
            ValueError: no items, a wrong number of levels, or a code outside its codebook.
        """
        ids = semantic_ids.cpu().numpy() if isinstance(semantic_ids, Tensor) else semantic_ids
        if len(ids) == 0:
            raise ValueError("a trie needs at least one item, got none.")
        if ids.shape[1] != len(codebook_sizes):
            raise ValueError(
                f"semantic IDs have {ids.shape[1]} levels, but codebook_sizes is {codebook_sizes}."
            )
        bad = first_out_of_range(ids, codebook_sizes)
        if bad is not None:
            item, level = bad
            raise ValueError(
                f"item {item} has code {int(ids[item, level])} at level {level + 1}, outside "
                f"0..{codebook_sizes[level] - 1}; mend the codes or the codebook size."
            )
        return Trie.from_flat(build_flat(ids, codebook_sizes, popularity), codebook_sizes)

    @staticmethod
    def from_flat(flat: FlatTrie, codebook_sizes: tuple[int, ...]) -> "Trie":
        """Wraps arrays without copying them."""
        return Trie(
            codebook_sizes=codebook_sizes,
            depth_starts=flat.depth_starts,
            codes=torch.from_numpy(flat.codes),
            child_start=torch.from_numpy(flat.child_start),
            bucket_start=torch.from_numpy(flat.bucket_start),
            bucket_items=torch.from_numpy(flat.bucket_items),
            leaf_of=torch.from_numpy(flat.leaf_of),
        )

    def flat(self) -> FlatTrie:
        """The arrays, on the CPU."""
        trie = self.to("cpu")
        return FlatTrie(
            codes=trie.codes.numpy(),
            child_start=trie.child_start.numpy(),
            bucket_start=trie.bucket_start.numpy(),
            bucket_items=trie.bucket_items.numpy(),
            leaf_of=trie.item_leaves.numpy(),
            depth_starts=trie.depth_starts,
        )

    def to(self, device: torch.device | str) -> "Trie":
        """A copy on `device`."""
        return Trie(
            codebook_sizes=self.codebook_sizes,
            depth_starts=self.depth_starts,
            codes=self.codes.to(device),
            child_start=self.child_start.to(device),
            bucket_start=self.bucket_start.to(device),
            bucket_items=self.bucket_items.to(device),
            leaf_of=self.item_leaves.to(device),
            dense=self.dense.to(device),
        )

    @property
    def device(self) -> torch.device:
        """The device of the arrays."""
        return self.codes.device

    @property
    def num_items(self) -> int:
        """Items, available or not."""
        return len(self.bucket_items)

    @property
    def num_leaves(self) -> int:
        """Different semantic IDs."""
        return len(self.bucket_start) - 1

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays, the dense rows included."""
        arrays = (
            self.codes,
            self.child_start,
            self.bucket_start,
            self.bucket_items,
            self.item_leaves,
        )
        return sum(array.nbytes for array in arrays) + self.dense.memory_bytes

    def nodes_at(self, depth: int) -> range:
        """The states of `depth` codes, in the lexicographic order of their paths."""
        if not 0 <= depth <= self.num_levels:
            raise ValueError(f"depth must lie in 0..{self.num_levels}, got {depth}.")
        return range(self.depth_starts[depth], self.depth_starts[depth + 1])

    def num_nodes(self, depth: int | None = None) -> int:
        """The number of states, at `depth` or at all depths together."""
        return self.depth_starts[-1] if depth is None else len(self.nodes_at(depth))

    def legal(
        self,
        states: Int[Tensor, "users width"],
        available: Availability | None = None,
        *,
        depth: int | None = None,
    ) -> Bool[Tensor, "users width codes"]:
        """The codes that may follow, as a mask; all False for leaves and for `NO_STATE`.

        Args:
            states: nodes of any depths.
            available: leaves out every code that leads to no available item.
            depth: of all the states, where that is one number: spares half the work.
        """
        flat = states.reshape(-1)
        most = self._most_children[-1 if depth is None else depth]
        if most and (depth is not None or not self._num_dense):
            legal = self._sparse_legal(flat, available, most)
        else:
            rows = self.dense.legal if available is None else available.dense_legal
            legal = rows.index_select(0, self._rows_of(flat))
            if most:
                legal |= self._sparse_legal(flat, available, most)
        return legal.view(*states.shape, self.max_codes)

    def child(
        self,
        states: Int[Tensor, "users width"],
        codes: Int[Tensor, "users width"],
        *,
        depth: int | None = None,
    ) -> Int[Tensor, "users width"]:
        """The state after one more code; `NO_STATE` where no item has such a prefix.

        Args:
            states: nodes of any depths.
            codes: one for each.
            depth: see `legal`.
        """
        flat, code = states.reshape(-1), codes.reshape(-1)
        most = self._most_children[-1 if depth is None else depth]
        if most and (depth is not None or not self._num_dense):
            children = self._sparse_child(flat, code, most)
        else:
            children = self._dense_child(flat, code)
            if most:
                is_sparse = flat >= self._num_dense
                children = torch.where(is_sparse, self._sparse_child(flat, code, most), children)
        return children.view(states.shape)

    def items(
        self, leaves: Int[Tensor, "users width"], available: Availability | None = None
    ) -> Int[Tensor, "users width bucket"]:
        """The items of each leaf in the order of its bucket, padded with `NO_ITEM`.

        The last axis is as long as the largest bucket among `leaves`, and at least 1. States that
        are no leaves hold no items.
        """
        start, stop = self._bucket_bounds(leaves.reshape(-1), available)
        items = self.bucket_items if available is None else available.bucket_items
        length = 1
        if self.max_bucket > 1 and len(start):
            length = max(1, int((stop - start).max()))
        if len(items) == 0:
            return torch.full((*leaves.shape, length), NO_ITEM, device=leaves.device)
        positions = start[:, None] + torch.arange(length, device=leaves.device)
        is_item = positions < stop[:, None]
        found = items[positions.clamp_(max=len(items) - 1)].long()
        return found.masked_fill_(~is_item, NO_ITEM).view(*leaves.shape, length)

    def bucket_sizes(
        self, leaves: Int[Tensor, "users width"], available: Availability | None = None
    ) -> Int[Tensor, "users width"]:
        """The number of (available) items of each leaf; 0 for states that are no leaves."""
        start, stop = self._bucket_bounds(leaves.reshape(-1), available)
        return (stop - start).long().view(leaves.shape)

    def is_available(
        self, items: Int[Tensor, "users width"], available: Availability | None
    ) -> Bool[Tensor, "users width"]:
        """A mask of the available items; an available item may share its leaf with other items.

        `NO_ITEM` is not available.
        """
        in_bucket = self.items(self.leaf_of(items), available) == items[..., None]
        return in_bucket.any(dim=-1) & (items != NO_ITEM)

    def leaf_of(self, items: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The leaf of each item; `NO_STATE` for `NO_ITEM`."""
        leaves = self.item_leaves[items.clamp(min=0)].long()
        return leaves.masked_fill_(items < 0, NO_STATE)

    def depth(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The number of codes that each state has decided; -1 for `NO_STATE`."""
        firsts = torch.tensor(self.depth_starts[:-1], device=self.device)
        return torch.bucketize(states.long().contiguous(), firsts, right=True) - 1

    def codes_of(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The last code of each state; `NO_CODE` for the root and for `NO_STATE`."""
        return self.codes[states.clamp(min=0)].long().masked_fill_(states <= 0, NO_CODE)

    def parent(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The state one code shorter; `NO_STATE` for the root and for `NO_STATE`."""
        nodes = states.to(self.child_start.dtype).contiguous()
        return torch.searchsorted(self.child_start, nodes, right=True) - 1

    def ancestor(self, states: Int[Tensor, "*shape"], depth: int) -> Int[Tensor, "*shape"]:
        """The prefix of `depth` codes of each state; `NO_STATE` for states above that depth."""
        end = self.nodes_at(depth).stop
        states = states.long()
        for _ in range(self.num_levels - depth):
            states = torch.where(states >= end, self.parent(states), states)
        return states.masked_fill(states < self.depth_starts[depth], NO_STATE)

    def prefixes(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape levels"]:
        """The states on the way from the root to each state, of 1 code to all, itself the last.

        `NO_STATE` past the end of the way, and so everywhere for the root and for `NO_STATE`.
        """
        states = states.long()
        by_depth = []
        for first in self.depth_starts[-2:0:-1]:
            is_here = states >= first
            by_depth.append(states.masked_fill(~is_here, NO_STATE))
            states = torch.where(is_here, self.parent(states), states)
        return torch.stack(by_depth[::-1], dim=-1)

    def path(self, states: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape levels"]:
        """The codes from the root to each state, padded with `NO_CODE` at the end."""
        return self.codes_of(self.prefixes(states))

    def leaf_range(
        self, states: Int[Tensor, "*shape"]
    ) -> tuple[Int[Tensor, "*shape"], Int[Tensor, "*shape"]]:
        """First leaf below each state, and the one after the last; equal for `NO_STATE`."""
        start, stop = states.long().clamp(min=0), states.long() + 1
        for _ in range(self.num_levels):
            start = torch.where(
                start < self.first_leaf, self.child_start[start.clamp(max=self.first_leaf)], start
            )
            stop = torch.where(
                stop <= self.first_leaf, self.child_start[stop.clamp(max=self.first_leaf)], stop
            )
        return start, torch.where(states < 0, start, stop)

    def availability(self, is_available: Bool[Tensor, " items"]) -> Availability:
        """The trie as if the items that are False did not exist; the latest few are kept.

        Raises:
            ValueError: not one entry per item.
        """
        if len(is_available) != self.num_items:
            raise ValueError(
                f"is_available has {len(is_available)} entries for {self.num_items} items."
            )
        content = np.packbits(is_available.cpu().numpy()).tobytes()
        return self._availabilities.get(content, lambda: self._counted(is_available))

    def _counted(self, is_available: Bool[Tensor, " items"]) -> Availability:
        """See `availability`; goes through the whole trie."""
        is_live = is_available.to(self.device)[self.bucket_items]
        bucket_start = _prefix_sums(is_live)[self.bucket_start]
        live_leaves = [(bucket_start.diff() > 0).to(bucket_start.dtype)]
        for depth in range(self.num_levels - 1, -1, -1):
            nodes = self.nodes_at(depth)
            bounds = self.child_start[nodes.start : nodes.stop + 1] - nodes.stop
            live_leaves.append(_prefix_sums(live_leaves[-1])[bounds].diff())
        live = torch.cat(live_leaves[::-1])
        return Availability(
            live_leaves=live,
            bucket_start=bucket_start,
            bucket_items=self.bucket_items[is_live],
            dense_legal=self.dense.legal_among(live > 0, self.codes, self.child_start),
        )

    def _rows_of(self, states: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The index of the dense row of each state; the row without children for the others."""
        last = self._num_dense
        return states.clamp(max=last).masked_fill_(states < 0, last)

    def _dense_child(
        self, states: Int[Tensor, " n"], codes: Int[Tensor, " n"]
    ) -> Int[Tensor, " n"]:
        """The child by the rank in the dense row of a node; `NO_STATE` for nodes without a row."""
        rows = self._rows_of(states)
        column = codes.clamp(0, self.max_codes - 1)
        ranks = self.dense.ranks.view(-1).index_select(0, rows * self.max_codes + column)
        children = self.child_start.index_select(0, rows).long() + ranks
        return children.masked_fill_((ranks < 0) | (column != codes), NO_STATE)

    def _child_bounds(
        self, states: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The range of each state's children; empty for leaves and for `NO_STATE`."""
        last = self.first_leaf
        start = self.child_start.index_select(0, states.clamp(0, last))
        stop = self.child_start.index_select(0, (states + 1).clamp_(0, last))
        return start.long(), stop.long()

    def _sparse_child(
        self, states: Int[Tensor, " n"], codes: Int[Tensor, " n"], most: int
    ) -> Int[Tensor, " n"]:
        """Binary search among each state's children, at most `most`, which ascend by code."""
        position, stop = self._child_bounds(states)
        last = len(self.codes) - 1
        for bit in range(most.bit_length() - 1, -1, -1):
            probe = position + ((1 << bit) - 1)
            is_before = (self.codes.index_select(0, probe.clamp(max=last)) < codes) & (probe < stop)
            position = torch.where(is_before, probe + 1, position)
        is_child = (self.codes.index_select(0, position.clamp(max=last)) == codes) & (
            position < stop
        )
        return position.masked_fill_(~is_child, NO_STATE)

    def _sparse_legal(
        self, states: Int[Tensor, " n"], available: Availability | None, most: int
    ) -> Bool[Tensor, "n codes"]:
        """One cell set per child, of all states without a dense row; at most `most` children."""
        start, stop = self._child_bounds(states)
        if self._num_dense:
            start = torch.where(states < self._num_dense, stop, start)
        children = start[:, None] + torch.arange(most, device=states.device)  # [n, most]
        is_child = children < stop[:, None]
        flat = children.clamp_(max=len(self.codes) - 1).view(-1)
        if available is not None:
            live = available.live_leaves.index_select(0, flat) > 0
            is_child &= live.view(is_child.shape)
        rows = torch.arange(0, len(states) * self.max_codes, self.max_codes, device=states.device)
        cells = self.codes.index_select(0, flat).view(is_child.shape) + rows[:, None]
        # What is no child goes to a spare cell at the end.
        spare = len(states) * self.max_codes
        legal = torch.zeros(spare + 1, dtype=torch.bool, device=states.device)
        legal.index_fill_(0, torch.where(is_child, cells, spare).view(-1), True)
        return legal[:-1].view(-1, self.max_codes)

    def _bucket_bounds(
        self, states: Int[Tensor, " n"], available: Availability | None
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The range of each leaf's items; empty for states that are no leaves."""
        starts = self.bucket_start if available is None else available.bucket_start
        leaf = (states - self.first_leaf).clamp_(min=-1)
        stop = starts.index_select(0, leaf + 1)
        start = starts.index_select(0, leaf.clamp(min=0))
        return torch.where(leaf < 0, stop, start), stop


def _prefix_sums(values: Tensor) -> Tensor:
    """Sums of the first 0, 1, ..., n values, as int32 where the number of values allows it."""
    dtype = torch.int32 if len(values) < 2**31 else torch.int64
    sums = torch.zeros(len(values) + 1, dtype=dtype, device=values.device)
    torch.cumsum(values, dim=0, dtype=dtype, out=sums[1:])
    return sums
