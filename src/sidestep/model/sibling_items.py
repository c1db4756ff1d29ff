"""Sibling items: the items below a prefix of all codes but the last, and their scores as codes.

A network can choose the last code by scores of items instead of by rows of its own for codes. The
last code often only tells apart items whose other codes are equal, so the same last code means
something else below every prefix. Rows of codes, which all prefixes share, cannot say that.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sidestep.padding import NO_ITEM

_MOST_PREFIXES = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPrefixes:
    """The prefix of each slot of a search tree as one number, and what else item scores read.

    numbers: see `SiblingItems.next_number`; 0 at the root.
    held: the items of each user's history; `NO_ITEM` is padding.
    roots: the state after the history that each of the newest nodes continues, or one state per
        user where all nodes continue the whole history.
    """

    numbers: Int[Tensor, "users slots"]
    held: Int[Tensor, "users items"]
    roots: Float[Tensor, "users roots dim"]

    @staticmethod
    def at_roots(
        held: Int[Tensor, "users items"], roots: Float[Tensor, "users 1 dim"]
    ) -> "SlotPrefixes":
        """The empty prefix of every user."""
        numbers = held.new_zeros(len(held), 1, dtype=torch.long)
        return SlotPrefixes(numbers=numbers, held=held, roots=roots)

    def with_nodes(
        self, numbers: Int[Tensor, "users width"], roots: Float[Tensor, "users roots dim"]
    ) -> "SlotPrefixes":
        """The prefixes with those of new nodes, in the next slots."""
        return replace(self, numbers=torch.cat([self.numbers, numbers], dim=1), roots=roots)


class SiblingItems(nn.Module):
    """Looks up the items below every prefix of all codes but the last.

    Attributes:
        order: item indices in the order of their prefixes, then of their last codes.
        numbers: the prefix of each item of `order` as a number, see `next_number`.
        last_codes: the last code of each item of `order`.
        widest: most items below one prefix.
        base: codes of the largest codebook; prefixes are numbers of this base.
        num_codes: codes of the last level.
    """

    order: Tensor
    numbers: Tensor
    last_codes: Tensor

    def __init__(
        self, semantic_ids: Int[Tensor, "items levels"], codebook_sizes: tuple[int, ...]
    ) -> None:
        """Sorts the items by their prefixes.

        Args:
            semantic_ids: of the items.
            codebook_sizes: codes per level.

        Raises:
            ValueError: there are too many prefixes to number them.
        """
        super().__init__()
        self.base = max(codebook_sizes)
        if self.base ** (len(codebook_sizes) - 1) > _MOST_PREFIXES:
            raise ValueError(
                f"codebooks of sizes {list(codebook_sizes)} have more prefixes than a 64-bit "
                "number counts; use fewer or smaller codebooks, or last_code_head: codes."
            )
        ids = semantic_ids.long()
        numbers = torch.zeros_like(ids[:, 0])
        for level in range(ids.shape[1] - 1):
            numbers = self.next_number(numbers, ids[:, level])
        by_code = ids[:, -1].sort(stable=True).indices
        numbers, order = numbers[by_code].sort(stable=True)
        order = by_code[order]
        last_codes = ids[order, -1]
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("numbers", numbers, persistent=False)
        self.register_buffer("last_codes", last_codes, persistent=False)
        self.num_codes = codebook_sizes[-1]
        first = torch.searchsorted(numbers, numbers)
        self.widest = int((torch.arange(len(order), device=first.device) - first).max()) + 1
        is_same = (numbers[1:] == numbers[:-1]) & (last_codes[1:] == last_codes[:-1])
        self._has_equal_ids = bool(is_same.any())

    def next_number(
        self, numbers: Int[Tensor, "*batch"], codes: Int[Tensor, "*batch"]
    ) -> Int[Tensor, "*batch"]:
        """The number of the prefix that is one code longer."""
        return numbers * self.base + codes

    def below(
        self, numbers: Int[Tensor, " prefixes"]
    ) -> tuple[Int[Tensor, "prefixes widest"], Int[Tensor, "prefixes widest"]]:
        """The items below each prefix and their last codes; `NO_ITEM` is padding.

        A number that is no prefix of all codes but the last of an item has no item.
        """
        numbers = numbers.contiguous()
        start = torch.searchsorted(self.numbers, numbers)
        stop = torch.searchsorted(self.numbers, numbers, right=True)
        places = start[:, None] + torch.arange(self.widest, device=numbers.device)
        is_item = places < stop[:, None]
        places = places.clamp(max=len(self.order) - 1)
        return self.order[places].masked_fill(~is_item, NO_ITEM), self.last_codes[places]

    def code_logits(
        self,
        scores: Float[Tensor, "prefixes widest"],
        items: Int[Tensor, "prefixes widest"],
        codes: Int[Tensor, "prefixes widest"],
    ) -> Float[Tensor, "prefixes codes"]:
        """Scores of items as logits of their last codes; -inf at codes that lead to no item.

            logit(c) = log Σ_{items i with last code c} exp(score_i)

        Args:
            scores: of the items.
            items: see `below`.
            codes: see `below`.
        """
        # Padding gets a column of its own, past the last code.
        columns = codes.masked_fill(items == NO_ITEM, self.num_codes)
        scores = scores.masked_fill(items == NO_ITEM, -torch.inf)
        none = scores.new_full((len(scores), self.num_codes + 1), -torch.inf)
        if not self._has_equal_ids:
            return none.scatter(1, columns, scores)[:, :-1]
        largest = none.scatter_reduce(1, columns, scores.detach(), "amax")
        largest = largest.masked_fill(largest == -torch.inf, 0.0)
        shares = (scores - largest.gather(1, columns)).exp()
        sums = torch.zeros_like(none).scatter_add(1, columns, shares)[:, :-1]
        is_code = sums > 0  # log 0 has no gradient
        return torch.where(is_code, sums.where(is_code, 1.0).log() + largest[:, :-1], -torch.inf)
