"""Posting lists: the items that have one given code, or two given codes.

The lists of single codes are the inverted index of the catalog. The lists of pairs take four bytes
per item and pair of codebooks. A search that reads a list of pairs need not intersect two lists of
single codes, which are the longest lists. All lists are ranges of one array of items.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

from sidestep.catalog.flat import first_out_of_range

_MAX_PAIR_BYTES = 4 * 2**30
_MAX_PAIR_BYTES_PER_ITEM = 512
"""Bounds on the lists of pairs, in all and per item."""

_MAX_CELLS = 2**24
"""Largest number of counts of pairs of actions; a count takes four bytes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PostingLists:
    """Items by code, and by pair of codes where that pays; make the lists with `build`.

    An action is a code of some codebook: the codes of the first codebook are the first actions. The
    items of a list ascend. List number a holds the items of action a; the lists of pairs follow the
    lists of actions.

    codebook_sizes: codes per codebook.
    item_actions: the actions of each item, one per codebook.
    codebook_of: the codebook of each action.
    items: all lists, one after the other.
    starts: the position in `items` at which each list begins, and the end of the last list.
    first_pair: for codebooks a < b, the number of the list of code 0 of a and code 0 of b; None
        where there are no lists of pairs.
    """

    codebook_sizes: tuple[int, ...]
    item_actions: Integer[Tensor, "items codebooks"]
    codebook_of: Int[Tensor, " actions"]
    items: Int[Tensor, " entries"]
    starts: Int[Tensor, " lists_plus_one"]
    first_pair: Int[Tensor, "codebooks codebooks"] | None

    @staticmethod
    def build(
        codes: Int[np.ndarray, "items codebooks"], codebook_sizes: tuple[int, ...]
    ) -> "PostingLists":
        """Builds the lists on the CPU by one stable sort per list of codebooks.

        Pairs get lists where an average pair has an item, and while the lists take at most 512
        bytes per item and 4 GiB in all.

        Args:
            codes: row i is item i.
            codebook_sizes: codes per codebook.

        Raises:
            ValueError: no items, a wrong number of codebooks, or a code outside its codebook.
        """
        num_items, num_codebooks = codes.shape
        if num_items == 0:
            raise ValueError("posting lists need at least one item, got none.")
        if num_codebooks != len(codebook_sizes):
            raise ValueError(
                f"items have {num_codebooks} codes, but codebook_sizes is {codebook_sizes}."
            )
        bad = first_out_of_range(codes, codebook_sizes)
        if bad is not None:
            item, codebook = bad
            raise ValueError(
                f"item {item} has code {int(codes[item, codebook])} of codebook {codebook + 1}, "
                f"outside 0..{codebook_sizes[codebook] - 1}; mend the codes or the codebook size."
            )
        pairs = _pairs(num_items, codebook_sizes)
        columns = [_narrow(codes[:, codebook]) for codebook in range(num_codebooks)]
        items = np.empty((num_codebooks + len(pairs), num_items), dtype=np.int32)
        lengths = []
        for codebook, (column, size) in enumerate(zip(columns, codebook_sizes, strict=True)):
            items[codebook] = column.argsort(kind="stable")
            lengths.append(np.bincount(column, minlength=size))
        for row, (one, other) in enumerate(pairs, start=num_codebooks):
            # Sorted by the other code already, so that one stable sort sorts by both.
            by_other = items[other]
            items[row] = by_other[columns[one][by_other].argsort(kind="stable")]
            size = codebook_sizes[other]
            both = columns[one].astype(np.int64) * size + columns[other]
            lengths.append(np.bincount(both, minlength=codebook_sizes[one] * size))
        starts = np.zeros(1 + sum(map(len, lengths)), dtype=np.int64)
        np.cumsum(np.concatenate(lengths), out=starts[1:])
        first_actions = np.cumsum([0, *codebook_sizes])
        narrow = np.int16 if first_actions[-1] <= 2**15 else np.int32
        return PostingLists(
            codebook_sizes=codebook_sizes,
            item_actions=torch.from_numpy((codes + first_actions[:-1]).astype(narrow)),
            codebook_of=torch.arange(num_codebooks).repeat_interleave(torch.tensor(codebook_sizes)),
            items=torch.from_numpy(items.reshape(-1)),
            starts=torch.from_numpy(starts),
            first_pair=_first_pair(pairs, codebook_sizes) if pairs else None,
        )

    def to(self, device: torch.device | str) -> "PostingLists":
        """Copies the lists to `device`."""
        return replace(
            self,
            item_actions=self.item_actions.to(device),
            codebook_of=self.codebook_of.to(device),
            items=self.items.to(device),
            starts=self.starts.to(device),
            first_pair=None if self.first_pair is None else self.first_pair.to(device),
        )

    @property
    def device(self) -> torch.device:
        """The device of the lists."""
        return self.items.device

    @property
    def num_items(self) -> int:
        """Items of the catalog."""
        return len(self.item_actions)

    @property
    def num_codebooks(self) -> int:
        """Codes of an item."""
        return len(self.codebook_sizes)

    @property
    def num_actions(self) -> int:
        """Codes of all codebooks."""
        return len(self.codebook_of)

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.item_actions, self.codebook_of, self.items, self.starts)
        pairs = 0 if self.first_pair is None else self.first_pair.nbytes
        return sum(array.nbytes for array in arrays) + pairs

    def first_actions(self) -> list[int]:
        """The first action of each codebook, and the number of actions."""
        return [0, *itertools.accumulate(self.codebook_sizes)]

    def pair_list(self, one: Int[Tensor, " n"], other: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The number of the list of two actions.

        There must be lists of pairs.

        Args:
            one: some actions.
            other: for each of them an action of another codebook, earlier or later.
        """
        assert self.first_pair is not None
        low, high = torch.minimum(one, other), torch.maximum(one, other)
        low_book = self.codebook_of.index_select(0, low)
        high_book = self.codebook_of.index_select(0, high)
        firsts = torch.tensor(self.first_actions(), device=self.device)
        low_code, high_code = low - firsts[low_book], high - firsts[high_book]
        sizes = firsts.diff()[high_book]
        return self.first_pair[low_book, high_book] + low_code * sizes + high_code

    def bounds(self, lists: Int[Tensor, " n"]) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """The range of each list in `items`."""
        return self.starts.index_select(0, lists), self.starts.index_select(0, lists + 1)

    def counts(self, is_available: Bool[Tensor, " items"] | None) -> Int[Tensor, "rows actions"]:
        """The number of available items of each action, and of each pair of actions.

        Row 0 counts the items of each action. Row 1 + a counts the items that also have action a;
        two actions of one codebook count 0. The last row holds zeros. Without lists of pairs, and
        where the rows would take more than 64 MiB, there are only row 0 and the row of zeros.

        Args:
            is_available: the items to count; None counts all items.
        """
        firsts = self.first_actions()
        has_rows = self.first_pair is not None and self.num_actions**2 <= _MAX_CELLS
        counts = torch.zeros(
            2 + self.num_actions * has_rows, self.num_actions, dtype=torch.int32, device=self.device
        )
        actions = self.item_actions if is_available is None else self.item_actions[is_available]
        columns = [column.long() - first for column, first in zip(actions.T, firsts, strict=False)]
        for codebook, size in enumerate(self.codebook_sizes):
            here = slice(firsts[codebook], firsts[codebook + 1])
            counts[0, here] = columns[codebook].bincount(minlength=size)
        if has_rows:
            rows = counts[1:-1]
            for one, other in itertools.combinations(range(self.num_codebooks), 2):
                sizes = self.codebook_sizes[one], self.codebook_sizes[other]
                both = (columns[one] * sizes[1] + columns[other]).bincount(
                    minlength=sizes[0] * sizes[1]
                )
                here = slice(firsts[one], firsts[one + 1])
                there = slice(firsts[other], firsts[other + 1])
                rows[here, there] = both.view(sizes).int()
                rows[there, here] = both.view(sizes).int().T
        return counts


def _pairs(num_items: int, codebook_sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """The pairs of codebooks that get lists, see `PostingLists.build`; all or none."""
    pairs = list(itertools.combinations(range(len(codebook_sizes)), 2))
    num_cells = sum(codebook_sizes[one] * codebook_sizes[other] for one, other in pairs)
    per_item = 4 * len(pairs)
    pays = num_cells <= len(pairs) * num_items
    fits = per_item <= _MAX_PAIR_BYTES_PER_ITEM and per_item * num_items <= _MAX_PAIR_BYTES
    return pairs if pays and fits else []


def _first_pair(
    pairs: list[tuple[int, int]], codebook_sizes: tuple[int, ...]
) -> Int[Tensor, "codebooks codebooks"]:
    """See `PostingLists.first_pair`; -1 where the first codebook is not before the second."""
    num_codebooks = len(codebook_sizes)
    first_pair = torch.full((num_codebooks, num_codebooks), -1)
    next_list = sum(codebook_sizes)
    for one, other in pairs:
        first_pair[one, other] = next_list
        next_list += codebook_sizes[one] * codebook_sizes[other]
    return first_pair


def _narrow(codes: Int[np.ndarray, " items"]) -> Integer[np.ndarray, " items"]:
    """The codes in 16 bits where they fit: a stable sort of 16 bits is ten times faster."""
    return codes.astype(np.uint16 if codes.max(initial=0) < 2**16 else np.int64)
