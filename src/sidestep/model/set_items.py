"""Set items: the few items that a set of codes may still become, and their scores as codes.

A network over sets can choose by scores of items where few items have a code of the set, instead of
by rows of its own for codes. Rows are shared by all sets, and so cannot say which item of a few is
meant. The rarest code of the set counts, and not the number of items that are left: to count these
would take as long as to list them. With 256 codes per codebook and a million items, few codes are
rare, and items choose late or never.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sidestep.model.log_sums import log_sums
from sidestep.step import ROOT_SLOT


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSets:
    """The set of codes at each slot of a search tree, and what else scores of items read.

    decided: flat ids of the codes, in the order in which they were decided; -1 is padding.
    held: the items of each user's history; `NO_ITEM` is padding.
    roots, scores: see `SlotPrefixes`.
    """

    decided: Int[Tensor, "users slots steps"]
    held: Int[Tensor, "users items"]
    roots: Float[Tensor, "users roots dim"]
    scores: Float[Tensor, "users all_items"] | None = None

    @staticmethod
    def at_roots(
        held: Int[Tensor, "users items"],
        roots: Float[Tensor, "users 1 dim"],
        scores: Float[Tensor, "users all_items"] | None,
        *,
        num_steps: int,
    ) -> "SlotSets":
        """The empty set of every user."""
        decided = torch.full((len(held), 1, num_steps), -1, device=held.device)
        return SlotSets(decided=decided, held=held, roots=roots, scores=scores)

    def with_nodes(
        self,
        codes: Int[Tensor, "users width"],
        parents: Int[Tensor, "users width"],
        depths: Int[Tensor, "users width"],
        roots: Float[Tensor, "users roots dim"],
        scores: Float[Tensor, "users all_items"] | None,
        *,
        is_chain: bool,
    ) -> "SlotSets":
        """The sets with those of new nodes, in the next slots.

        Args:
            codes: the flat id of the code that each node adds to its parent's set.
            parents: the slot of each parent.
            depths: codes decided at each node.
            roots: see `SlotPrefixes.roots`.
            scores: None where a new node continues a part of its history.
            is_chain: whether a parent may be one of the new nodes.
        """
        slots, width, num_steps = self.decided.shape[1], codes.shape[1], self.decided.shape[2]
        steps = torch.arange(1, num_steps + 1, device=codes.device)
        own = torch.where(steps == depths[..., None], codes[..., None], -1)
        decided = torch.cat([self.decided, own], dim=1)
        above = parents.clamp(ROOT_SLOT, slots + width - 1)[..., None].expand(-1, -1, num_steps)
        # A parent may lie in the same call, so a set is complete once its parent's is.
        for _ in range(num_steps if is_chain else 1):
            decided[:, slots:] = torch.maximum(decided.gather(1, above), own)
        return replace(self, decided=decided, roots=roots, scores=scores)


class SetItems(nn.Module):
    """Looks up the items that have all codes of a set, where few items have one of the codes.

    Attributes:
        codes: of each item, as flat ids.
        order: items by code.
        starts: the first place in `order` of each code, and the end of the last.
        most: a set has few items if at most so many have its rarest code.
        widest: most items of a code that so many items have at most.
        all_rare: whether at most so many items have any code, so that items choose at every set.
    """

    codes: Tensor
    order: Tensor
    starts: Tensor

    def __init__(self, codes: Int[Tensor, "items codebooks"], num_codes: int, *, most: int) -> None:
        """Lists the items of every code.

        Args:
            codes: of the items, as flat ids.
            num_codes: codes of all codebooks together.
            most: see the class.
        """
        super().__init__()
        self.most = most
        by_code = codes.flatten().sort(stable=True)
        counts = codes.flatten().bincount(minlength=num_codes)
        rare = counts <= most
        self.widest = int(counts.masked_fill(~rare, 0).max())
        self.all_rare = bool(rare.all())
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("order", by_code.indices // codes.shape[1], persistent=False)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.register_buffer("starts", starts, persistent=False)

    def are_few(self, decided: Int[Tensor, "sets steps"]) -> Bool[Tensor, " sets"]:
        """The sets of few items, as a mask; see `few`."""
        return self._rarest(decided)[0] <= self.most

    def few(
        self, decided: Int[Tensor, "sets steps"]
    ) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"], Bool[Tensor, " sets"]]:
        """The items that have all codes of each set, the row of each, and the sets of few items.

        The sets of few items are a mask. The following sets have no item here: a set whose items
        are not few (see `most`), the empty set, and a set that no item has.

        Args:
            decided: the codes of each set as flat ids; -1 is padding.
        """
        size, first = self._rarest(decided)
        is_few = size <= self.most
        size = size.masked_fill(~is_few, 0)
        rows = torch.arange(len(size), device=size.device).repeat_interleave(size)
        ranks = torch.arange(len(rows), device=size.device) - (size.cumsum(0) - size)[rows]
        items = self.order[first[rows] + ranks]
        own, wanted = self.codes[items], decided[rows]
        has_all = (own[:, :, None] == wanted[:, None]).any(dim=1) | (wanted < 0)
        has_all = has_all.all(dim=1)
        return items[has_all], rows[has_all], is_few

    def _rarest(
        self, decided: Int[Tensor, "sets steps"]
    ) -> tuple[Int[Tensor, " sets"], Int[Tensor, " sets"]]:
        """The number of items with the rarest code of each set, and their first place in `order`.

        The empty set has more items than `most`.
        """
        known = decided.clamp(min=0)
        first, past = self.starts[known], self.starts[known + 1]
        sizes = (past - first).masked_fill(decided < 0, self.most + 1)
        size, rarest = sizes.min(dim=1)
        return size, first.gather(1, rarest[:, None])[:, 0]

    def code_logits(
        self,
        scores: Float[Tensor, " entries"],
        rows: Int[Tensor, " entries"],
        items: Int[Tensor, " entries"],
        num_sets: int,
    ) -> Float[Tensor, "sets codes"]:
        """Scores of items as logits of the codes of all codebooks; -inf at codes of no item.

            logit(c) = log Σ_{items i with code c} exp(score_i)

        So the probabilities of the codes of any codebook are those of the items.

        Args:
            scores: of the items.
            rows: see `few`.
            items: see `few`.
            num_sets: sets that `few` was asked for.
        """
        num_codes = len(self.starts) - 1
        cells = (rows[:, None] * num_codes + self.codes[items]).flatten()
        entries = scores[:, None].expand(-1, self.codes.shape[1]).flatten()
        return log_sums(entries, cells, num_sets * num_codes).view(num_sets, num_codes)
