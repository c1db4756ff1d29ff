"""Sibling items: the items below a prefix, and their scores as codes.

A network can choose the last code by scores of items instead of by rows of its own for codes. The
last code often only tells apart items whose other codes are equal, so the same last code means
something else below every prefix. Rows of codes, which all prefixes share, cannot say that. Items
can choose an earlier code, too, where few items are below a prefix.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.model.log_sums import log_sums
from sidestep.padding import NO_ITEM

_MOST_PREFIXES = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPrefixes:
    """The prefix of each slot of a search tree as one number, and what else item scores read.

    numbers: see `SiblingItems.next_number`; 0 at the root.
    held: the items of each user's history; `NO_ITEM` is padding.
    roots: the state after the history that each of the newest nodes continues, or one state per
        user where all nodes continue the whole history.
    scores: of all items at the state after the whole history, where that is less work than to score
        the items below each prefix; else None.
    """

    numbers: Int[Tensor, "users slots"]
    held: Int[Tensor, "users items"]
    roots: Float[Tensor, "users roots dim"]
    scores: Float[Tensor, "users all_items"] | None = None

    @staticmethod
    def at_roots(
        held: Int[Tensor, "users items"],
        roots: Float[Tensor, "users 1 dim"],
        scores: Float[Tensor, "users all_items"] | None = None,
    ) -> "SlotPrefixes":
        """The empty prefix of every user."""
        numbers = held.new_zeros(len(held), 1, dtype=torch.long)
        return SlotPrefixes(numbers=numbers, held=held, roots=roots, scores=scores)

    def with_nodes(
        self,
        numbers: Int[Tensor, "users width"],
        roots: Float[Tensor, "users roots dim"],
        scores: Float[Tensor, "users all_items"] | None,
    ) -> "SlotPrefixes":
        """The prefixes with those of new nodes, in the next slots.

        Args:
            numbers: of the new nodes.
            roots: see the class.
            scores: None where a new node continues a part of its history.
        """
        numbers = torch.cat([self.numbers, numbers], dim=1)
        return replace(self, numbers=numbers, roots=roots, scores=scores)


class SiblingItems(nn.Module):
    """Looks up items below prefixes: all prefixes of all codes but the last, and others with few.

    Attributes:
        order: item indices in the order of their codes.
        numbers: the prefix of all codes but the last of each item of `order`, as a number, see
            `next_number`.
        codes: of each item of `order`.
        few_items: a shorter prefix has few items if at most so many are below it.
        widest: by the number of codes of a prefix, the most items below a prefix for which items
            choose; 0 where items choose for no prefix. At the root 0, unless a semantic ID has one
            code.
        choose_all: by the number of codes of a prefix, whether items choose for all prefixes.
        base: codes of the largest codebook; prefixes are numbers of this base.
    """

    order: Tensor
    numbers: Tensor
    codes: Tensor

    def __init__(
        self,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
        *,
        few_items: int = 0,
    ) -> None:
        """Sorts the items by their codes.

        Args:
            semantic_ids: of the items.
            codebook_sizes: codes per level.
            few_items: see the class.

        Raises:
            ValueError: there are too many prefixes to number them.
        """
        super().__init__()
        self.base = max(codebook_sizes)
        self.codebook_sizes = codebook_sizes
        self.few_items = few_items
        num_levels = len(codebook_sizes)
        if self.base ** (num_levels - 1) > _MOST_PREFIXES:
            raise ValueError(
                f"codebooks of sizes {list(codebook_sizes)} have more prefixes than a 64-bit "
                "number counts; use fewer or smaller codebooks, or last_code_head: codes."
            )
        ids = semantic_ids.long()
        numbers = torch.zeros_like(ids[:, 0])
        for level in range(num_levels - 1):
            numbers = self.next_number(numbers, ids[:, level])
        by_code = ids[:, -1].sort(stable=True).indices
        numbers, order = numbers[by_code].sort(stable=True)
        order = by_code[order]
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("numbers", numbers, persistent=False)
        self.register_buffer("codes", ids[order], persistent=False)
        widest, choose_all = [0], [False]
        for depth in range(1, num_levels):
            _, counts = torch.unique_consecutive(
                numbers // self.base ** (num_levels - 1 - depth), return_counts=True
            )
            is_few = counts <= few_items
            if depth == num_levels - 1:
                is_few = torch.ones_like(is_few)
            widest.append(int(counts.masked_fill(~is_few, 0).max()))
            choose_all.append(bool(is_few.all()))
        if num_levels == 1:  # the root itself is all codes but the last
            widest, choose_all = [len(ids)], [True]
        self.widest, self.choose_all = tuple(widest), tuple(choose_all)
        is_same = (ids[order][1:] == ids[order][:-1]).all(dim=1)
        self._has_equal_ids = bool(is_same.any())

    def next_number(
        self, numbers: Int[Tensor, "*batch"], codes: Int[Tensor, "*batch"]
    ) -> Int[Tensor, "*batch"]:
        """The number of the prefix that is one code longer."""
        return numbers * self.base + codes

    def choose(self, codes: Int[Tensor, "prefixes levels"]) -> Bool[Tensor, " prefixes"]:
        """The prefixes whose next code items choose, as a mask; of whole semantic IDs none.

        Args:
            codes: of the prefixes, padded with -1 at the end.
        """
        chosen = torch.zeros_like(codes[:, 0], dtype=torch.bool)
        numbers = torch.zeros_like(codes[:, 0])
        depths = (codes >= 0).sum(dim=1)
        for depth in range(len(self.codebook_sizes)):
            if self.widest[depth]:
                is_few = self._are_few(*self._range(numbers, depth), depth)
                chosen |= is_few & (depths == depth)
            numbers = self.next_number(numbers, codes[:, depth].clamp(min=0))
        return chosen

    def below(
        self, numbers: Int[Tensor, " prefixes"], depth: int
    ) -> tuple[Int[Tensor, "prefixes widest"], Int[Tensor, "prefixes widest"]]:
        """The items below each prefix, and their next codes; `NO_ITEM` is padding.

        A prefix for which items do not choose has no item, nor has a number that is no prefix.

        Args:
            numbers: of the prefixes.
            depth: codes of each prefix.
        """
        start, stop = self._range(numbers, depth)
        places = start[:, None] + torch.arange(self.widest[depth], device=numbers.device)
        is_item = (places < stop[:, None]) & self._are_few(start, stop, depth)[:, None]
        places = places.clamp(max=len(self.order) - 1)
        return self.order[places].masked_fill(~is_item, NO_ITEM), self.codes[places, depth]

    def _range(
        self, numbers: Int[Tensor, " prefixes"], depth: int
    ) -> tuple[Int[Tensor, " prefixes"], Int[Tensor, " prefixes"]]:
        """The place in `order` of the first item below each prefix, and the place after the last.

        Args:
            numbers: of the prefixes.
            depth: codes of each prefix.
        """
        step = self.base ** (len(self.codebook_sizes) - 1 - depth)
        start = torch.searchsorted(self.numbers, numbers * step)
        return start, torch.searchsorted(self.numbers, (numbers + 1) * step)

    def _are_few(
        self, start: Int[Tensor, " prefixes"], stop: Int[Tensor, " prefixes"], depth: int
    ) -> Bool[Tensor, " prefixes"]:
        """The prefixes for which items choose, see `few_items`; of ranges from `_range`."""
        if depth == len(self.codebook_sizes) - 1:
            return torch.ones_like(start, dtype=torch.bool)
        return stop - start <= self.few_items

    def code_logits(
        self,
        scores: Float[Tensor, "prefixes widest"],
        items: Int[Tensor, "prefixes widest"],
        codes: Int[Tensor, "prefixes widest"],
        depth: int,
    ) -> Float[Tensor, "prefixes codes"]:
        """Scores of items as logits of their next codes; -inf at codes that lead to no item.

            logit(c) = log Σ_{items i with next code c} exp(score_i)

        Args:
            scores: of the items.
            items: see `below`.
            codes: see `below`.
            depth: codes of each prefix.
        """
        # Padding gets a column of its own, past the last code.
        num_codes = self.codebook_sizes[depth]
        columns = codes.masked_fill(items == NO_ITEM, num_codes)
        scores = scores.masked_fill(items == NO_ITEM, -torch.inf)
        if depth == len(self.codebook_sizes) - 1 and not self._has_equal_ids:
            none = scores.new_full((len(scores), num_codes + 1), -torch.inf)
            return none.scatter(1, columns, scores)[:, :-1]
        rows = torch.arange(len(scores), device=scores.device)[:, None]
        cells = rows * (num_codes + 1) + columns
        sums = log_sums(scores.flatten(), cells.flatten(), len(scores) * (num_codes + 1))
        return sums.view(len(scores), -1)[:, :-1]
