"""Batches of requests: the histories and exclusions of users as tensors of item indices."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.bundle.columns import vocabulary_of
from sidestep.bundle.requests import Request, checked_user_info
from sidestep.data.batches import history_batch, user_values
from sidestep.data.histories import Histories
from sidestep.model.config import ColumnConfig
from sidestep.padding import NO_MOMENT
from sidestep.step import HistoryBatch

IndicesOf = Callable[[Sequence[str]], Int[np.ndarray, " ids"]]
"""A function that gives the index of each item, `NO_ITEM` where the catalog lacks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBatch:
    """Some requests as tensors, on the CPU.

    histories: whole, also past the most recent items that a network looks at.
    unwanted: the items that each user must not get, with `NO_ITEM` as padding; None where no user
        leaves anything out.
    num_unknown: items of each history that the catalog lacks.
    """

    histories: HistoryBatch
    unwanted: Int[Tensor, "users items"] | None
    num_unknown: Int[np.ndarray, " users"]

    @staticmethod
    def of(
        requests: Sequence[Request],
        indices_of: IndicesOf,
        user_columns: Mapping[str, ColumnConfig] | None = None,
    ) -> "RequestBatch":
        """The batch of requests that were checked.

        Args:
            requests: at least one.
            indices_of: see `IndicesOf`.
            user_columns: the columns of users that the recommender reads; None if it reads none.
        """
        unwanted = None
        if any(request.exclude_seen or request.excluded for request in requests):
            left_out = [
                [*(request.history if request.exclude_seen else ()), *request.excluded]
                for request in requests
            ]
            unwanted = history_batch(_rows(left_out, indices_of)[0]).items
        batch, num_unknown = _histories(requests, indices_of)
        if user_columns is not None and any(each.user_info is not None for each in requests):
            described = [each.user_info or {} for each in requests]
            info = checked_user_info(described, requests, user_columns)
            assert info is not None
            batch = replace(batch, user_values=user_values(vocabulary_of(user_columns).read(info)))
        return RequestBatch(histories=batch, unwanted=unwanted, num_unknown=num_unknown)


def _histories(
    requests: Sequence[Request], indices_of: IndicesOf
) -> tuple[HistoryBatch, Int[np.ndarray, " users"]]:
    """The histories and their numbers of unknown items; with gaps if any request has times."""
    past = [request.history for request in requests]
    if all(request.times is None for request in requests):
        known, num_unknown = _rows(past, indices_of)
        return history_batch(known), num_unknown
    # Unknown times are written as 0, and their gaps are hidden below.
    times = [[0] * len(each.history) if each.times is None else each.times for each in requests]
    moments = np.array([each.moment or 0 for each in requests], dtype=np.int64)
    known, num_unknown = _rows(past, indices_of, times)
    batch = history_batch(known, moments=moments)
    assert batch.moments is not None
    assert batch.gaps is not None
    has_times = torch.tensor([each.times is not None for each in requests])[:, None]
    has_moment = torch.tensor([each.moment is not None for each in requests])
    is_last = torch.arange(batch.gaps.shape[1]) == batch.lengths[:, None] - 1
    is_hidden = ~has_times | (is_last & ~has_moment[:, None])
    hidden = replace(
        batch,
        gaps=batch.gaps.masked_fill(is_hidden, torch.nan),
        moments=batch.moments.masked_fill(~has_moment, NO_MOMENT),
    )
    return hidden, num_unknown


def _rows(
    rows: Sequence[Collection[str]],
    indices_of: IndicesOf,
    times: Sequence[Sequence[int]] | None = None,
) -> tuple[Histories, Int[np.ndarray, " users"]]:
    """The items of each row as indices, and the number of IDs that the catalog lacks."""
    return Histories.from_item_ids(
        {str(row): list(item_ids) for row, item_ids in enumerate(rows)},
        indices_of,
        timestamps=times,
    )
