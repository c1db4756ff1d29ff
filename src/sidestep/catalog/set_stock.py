"""The stock of a space of code sets: the items that users may get, and the codes that lead there.

The stock counts the items that are in stock by code, and by pair of codes where the catalog has
lists of pairs. So the counts tell which codes are legal after few codes. Later the candidates of a
set tell, see `set_lookup`.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.catalog.posting_lists import PostingLists
from sidestep.catalog.user_sets import distinct, is_among
from sidestep.padding import NO_ITEM
from sidestep.step import is_named


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InStock:
    """The items that every user may get.

    is_available: per item; None where every item may be returned.
    counts: see `PostingLists.counts`; the available items alone count.
    follows: whether a count is above 0.
    """

    is_available: Bool[Tensor, " items"] | None
    counts: Int[Tensor, "rows actions"]
    follows: Bool[Tensor, "rows actions"]

    @staticmethod
    def of(lists: PostingLists, is_available: Bool[Tensor, " items"] | None) -> "InStock":
        """Counts the items."""
        counts = lists.counts(is_available)
        return InStock(is_available=is_available, counts=counts, follows=counts > 0)

    def to(self, device: torch.device | str) -> "InStock":
        """Copies the counts to `device`."""
        is_available = None if self.is_available is None else self.is_available.to(device)
        return InStock(
            is_available=is_available,
            counts=self.counts.to(device),
            follows=self.follows.to(device),
        )

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        per_item = 0 if self.is_available is None else self.is_available.nbytes
        return per_item + self.counts.nbytes + self.follows.nbytes

    @property
    def no_row(self) -> int:
        """The row of `counts` that counts nothing."""
        return len(self.counts) - 1

    def rows(
        self, actions: Int[Tensor, "n codebooks"], is_end: Bool[Tensor, " n"]
    ) -> Int[Tensor, " n"]:
        """The row of `counts` that counts what follows each set of codes; -1 where no row does.

        Args:
            actions: the codes of each set; -1 at open codebooks.
            is_end: sets that nothing follows.
        """
        depths = (actions >= 0).sum(dim=1)
        rows = torch.where(depths == 1, 1 + actions.amax(dim=1), depths)
        has_row = depths < (2 if self.no_row > 1 else 1)
        return rows.masked_fill_(~has_row, -1).masked_fill_(is_end, self.no_row)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UserStock:
    """The items that each user may get: those in stock that are not excluded for the user.

    shared: the items in stock.
    excluded: per user the items that the user must not get, ascending, each once; None excludes no
        item.
    """

    shared: InStock
    excluded: Int[Tensor, "users items"] | None = None

    def to(self, device: torch.device | str) -> "UserStock":
        """Copies the stock to `device`."""
        excluded = None if self.excluded is None else self.excluded.to(device)
        return UserStock(shared=self.shared.to(device), excluded=excluded)

    def without(self, items: Int[Tensor, "users items"]) -> "UserStock":
        """The stock without more items, each user's own; `NO_ITEM` is padding."""
        if self.excluded is not None:
            items = torch.cat([self.excluded, items], dim=1)
        return replace(self, excluded=distinct(items))

    def mask(self, lists: PostingLists, num_users: int) -> Bool[Tensor, "users items"]:
        """The items that each user may get, as a mask over all items of the catalog."""
        mask = torch.ones(num_users, lists.num_items, dtype=torch.bool, device=lists.device)
        if self.shared.is_available is not None:
            mask &= self.shared.is_available
        if self.excluded is not None:
            mask &= ~is_named(self.excluded, lists.num_items)
        return mask

    def kept(self, items: Int[Tensor, "users width bucket"]) -> Int[Tensor, "users width bucket"]:
        """The items with `NO_ITEM` in the place of those that their user may not get."""
        if self.shared.is_available is not None:
            items = items.masked_fill(~self.shared.is_available[items.clamp(min=0)], NO_ITEM)
        if self.excluded is not None:
            items = items.masked_fill(is_among(items, self.excluded), NO_ITEM)
        return items

    def has(
        self, lists: PostingLists, items: Int[Tensor, " n"], users: Int[Tensor, " n"]
    ) -> Bool[Tensor, " n"] | None:
        """Items that their user may get, as a mask; None where every user may get every item."""
        has = None
        if self.shared.is_available is not None:
            has = self.shared.is_available.index_select(0, items)
        if self.excluded is not None and self.excluded.shape[1]:
            is_excluded = self._is_excluded(lists, items, users)
            has = ~is_excluded if has is None else has & ~is_excluded
        return has

    def legal(
        self, lists: PostingLists, rows: Int[Tensor, "users width"]
    ) -> Bool[Tensor, "users width actions"]:
        """The actions that lead to an item that the user may get, by the counts.

        Args:
            lists: of the catalog.
            rows: see `InStock.rows`; no action is legal where the row is -1.
        """
        flat = rows.reshape(-1)
        flat = flat.masked_fill(flat < 0, self.shared.no_row)
        if self.excluded is None or not self.excluded.shape[1]:
            follows = self.shared.follows.index_select(0, flat)
            return follows.view(*rows.shape, lists.num_actions)
        counts = self.shared.counts.index_select(0, flat)
        cells = self._excluded_cells(lists, rows)
        counts.view(-1).index_add_(0, cells, torch.full_like(cells, -1, dtype=counts.dtype))
        return (counts > 0).view(*rows.shape, lists.num_actions)

    def _excluded_cells(
        self, lists: PostingLists, rows: Int[Tensor, "users width"]
    ) -> Int[Tensor, " cells"]:
        """The cells of the counts that contain an item which the user must not get.

        There is one cell per item and action of the item: the index in [users, width, actions].
        """
        assert self.excluded is not None
        items = self.excluded
        is_there = items != NO_ITEM
        if self.shared.is_available is not None:
            is_there &= self.shared.is_available[items.clamp(min=0)]
        actions = lists.item_actions[items.clamp(min=0)].long()  # [users, items, codebooks]
        # Row 1 + a counts items with action a, row 0 counts all.
        has_action = (actions[:, None] + 1 == rows[..., None, None]).any(dim=3)
        is_counted = (has_action | (rows == 0)[..., None]) & is_there[:, None]
        users, columns, places = is_counted.nonzero(as_tuple=True)
        own = actions[users, places]  # [matches, codebooks]
        # Cells of the codebook of a row's own action count nothing, and stay below one.
        return (own + ((users * rows.shape[1] + columns) * lists.num_actions)[:, None]).view(-1)

    def _is_excluded(
        self, lists: PostingLists, items: Int[Tensor, " n"], users: Int[Tensor, " n"]
    ) -> Bool[Tensor, " n"]:
        """Items that their user must not get, as a mask."""
        assert self.excluded is not None
        num_users = len(self.excluded)
        firsts = torch.arange(num_users, device=lists.device)[:, None] * lists.num_items
        pairs = (self.excluded + firsts).masked_fill(self.excluded == NO_ITEM, -1)
        ordered = pairs.view(-1).sort().values
        wanted = users * lists.num_items + items
        place = torch.searchsorted(ordered, wanted).clamp_(max=len(ordered) - 1)
        return ordered.index_select(0, place) == wanted
