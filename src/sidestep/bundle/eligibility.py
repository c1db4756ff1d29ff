"""Eligibility: which items of a catalog a list may hold, whoever it is for."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from sidestep.bundle.requests import check_ids
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.filters import Where, filter_key, matching
from sidestep.padding import NO_ITEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Conditions on items, as a key: requests of equal conditions can share a search.

    available: IDs of the only items; None for all.
    where: filters on the texts of the items; empty for none.
    new_only: whether only items that were appended after the training are eligible.
    """

    available: frozenset[str] | None = None
    where: Where = ()
    new_only: bool = False

    @staticmethod
    def of(available: Any, where: Any) -> "Eligibility":
        """The conditions of a request.

        Args:
            available: item IDs; None for all.
            where: per column a wanted value, or several; None for no filter.

        Raises:
            TypeError: one text in place of several, an ID or a value that is no text.
            ValueError: a filter without a value.
        """
        if isinstance(available, str):
            raise TypeError(
                f'available is a collection of item IDs, got a text; pass ["{available}"].'
            )
        if available is not None:
            check_ids(available)
        return Eligibility(
            available=None if available is None else frozenset(available),
            where=() if where is None else filter_key(where),
        )

    def mask(self, catalog: Catalog, first_new: int) -> Bool[Tensor, " items"] | None:
        """The eligible items, none of which has a tombstone; None where every item is eligible.

        Args:
            catalog: of the items.
            first_new: index of the first new item.

        Raises:
            KeyError: the catalog has none of the IDs or no such column, or no item has the value.
        """
        is_eligible = torch.ones(catalog.num_items, dtype=torch.bool)
        if self.available is not None:
            is_eligible = _named(self.available, catalog)
        if self.where:
            is_eligible &= torch.tensor(matching(catalog.texts, self.where))
        if self.new_only:
            is_eligible[:first_new] = False
        if catalog.is_retired is not None:
            is_eligible &= ~torch.from_numpy(catalog.is_retired)
        return None if self == Eligibility() and catalog.is_retired is None else is_eligible


def _named(available: frozenset[str], catalog: Catalog) -> Bool[Tensor, " items"]:
    """The items with these IDs."""
    indices = catalog.indices_of(list(available))
    if len(indices) and (indices == NO_ITEM).all():
        raise KeyError(
            f"available names no item of the catalog, for example not {min(available)!r}; "
            "give the IDs that the catalog was made with."
        )
    is_named = torch.zeros(catalog.num_items, dtype=torch.bool)
    is_named[torch.from_numpy(indices[indices != NO_ITEM])] = True
    return is_named
