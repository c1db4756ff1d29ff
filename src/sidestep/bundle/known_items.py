"""Known items: item IDs of a request as indices of the catalog, and indices of an answer as IDs."""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sidestep.bundle.ranked_items import RankedItems
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories
from sidestep.padding import NO_ITEM
from sidestep.recommender import Recommendations


def known_histories(
    rows: Sequence[Collection[str]],
    catalog: Catalog,
    times: Sequence[Sequence[int]] | None = None,
) -> tuple[Histories, Int[np.ndarray, " users"]]:
    """The items of each row as indices, and the number of IDs that the catalog lacks.

    Args:
        rows: item IDs of each user, oldest first.
        catalog: of the items.
        times: the time of each item of each row; None if unknown.
    """
    return Histories.from_item_ids(
        {str(row): list(item_ids) for row, item_ids in enumerate(rows)},
        catalog.indices_of,
        timestamps=times,
    )


def available_items(available: Collection[str], catalog: Catalog) -> Bool[Tensor, " items"]:
    """The items that are available and without a tombstone, as a mask.

    Raises:
        KeyError: `available` names items, none of which the catalog has.
    """
    indices = catalog.indices_of(list(available))
    if len(indices) and (indices == NO_ITEM).all():
        raise KeyError(
            f"available names no item of the catalog, for example not "
            f"{next(iter(available))!r}; give the IDs that the catalog was made with."
        )
    is_live = torch.zeros(catalog.num_items, dtype=torch.bool)
    is_live[torch.from_numpy(indices[indices != NO_ITEM])] = True
    if catalog.is_retired is not None:
        is_live &= ~torch.from_numpy(catalog.is_retired)
    return is_live


def named_items(
    answer: Recommendations, catalog: Catalog, num_unknown: Sequence[int], *, num_new_items: int
) -> list[RankedItems]:
    """The lists of an answer as IDs and titles, without padding.

    Args:
        answer: of some users.
        catalog: of its items.
        num_unknown: per user, items of the history that the catalog lacks.
        num_new_items: items that were appended after the training: the last ones of the catalog.
    """
    items, scores = answer.items.cpu(), answer.scores.cpu()
    first_new = catalog.num_items - num_new_items
    named = []
    for row, unknown in enumerate(num_unknown):
        is_item = items[row] != NO_ITEM
        indices = items[row][is_item].numpy()
        named.append(
            RankedItems(
                item_ids=catalog.ids_of(indices),
                scores=scores[row][is_item].tolist(),
                is_new=(indices >= first_new).tolist(),
                score_kind=answer.score_kind,
                titles=None if catalog.texts is None else catalog.titles_of(indices),
                tokens=int(answer.tokens[row]),
                num_unknown=unknown,
            )
        )
    return named
